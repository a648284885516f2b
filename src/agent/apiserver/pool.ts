/** The pool: sends each request to an apiserver that can answer it, and to a second one only where that can do no harm. */
import { Readable } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { Clock } from "#agent/clock.ts";
import { sameAddress } from "./address.ts";
import { Apiserver } from "./apiserver.ts";
import { abortReason } from "./exchange.ts";
import type { Answer, Attempt, AttemptRequest } from "./exchange.ts";
import { assertRequestLine, toWireHeaders } from "./headers.ts";
import { maxAttempts } from "./limits.ts";
import { createReadyzProbe, isRefusal } from "./probe.ts";
import type { Probe } from "./probe.ts";
import { ReplayableBody, ReplayBudget } from "./replay.ts";
import { orderCandidates } from "./selection.ts";
import { openUpgrade } from "./upgrade.ts";
import { isOwnAnswer, looksLikeStatus, maySayStopping, readStopping } from "./stopping.ts";
import type {
  ApiserverAddress,
  ApiserverPool,
  ClientTls,
  PoolState,
  UpgradeOutcome,
  UpstreamRequest,
  UpstreamResponse,
} from "./upstream.ts";

export interface PoolOptions {
  readonly servers: readonly ApiserverAddress[];
  /** The agent's own TLS material as it is now. */
  readonly tls: () => ClientTls;
  /** The agent's own Authorization value, for probes. */
  readonly authorization: () => Promise<string | undefined>;
  readonly clock: Clock;
  /** 0 to 1; varies timers. */
  readonly random: () => number;
  /** 16 random bytes, for Sec-WebSocket-Key. */
  readonly nonce: () => Uint8Array;
  /** Told when the apiserver itself answers 401: the agent's own credential was refused, whoever the request is for. */
  readonly onUnauthorized?: () => void;
  /** How a server is probed; tests give their own. */
  readonly probe?: (address: ApiserverAddress) => Probe;
}

/** A pool of the apiservers of one cluster. */
export function createApiserverPool(options: PoolOptions): ApiserverPool {
  return new Pool(options);
}

class Pool implements ApiserverPool {
  readonly #options: PoolOptions;
  readonly #budget = new ReplayBudget();
  readonly #retired = new Set<Apiserver>();
  #servers: Apiserver[] = [];
  #started = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.setServers(options.servers);
  }

  async request(request: UpstreamRequest): Promise<UpstreamResponse> {
    assertRequestLine(request.method, request.target);
    const replayable = request.body instanceof Readable ? new ReplayableBody(request.body, this.#budget) : undefined;
    const shape = {
      method: request.method,
      target: request.target,
      headers: toWireHeaders(request.headers),
      longRunning: request.longRunning,
      watch: request.longRunning && isWatch(request),
      signal: request.signal,
    };
    const attempt = (): AttemptRequest => ({ ...shape, body: replayable?.open() ?? toBytes(request.body) });
    try {
      return await this.#send(attempt, request.affinity, replayable);
    } finally {
      replayable?.release();
    }
  }

  async upgrade(request: UpstreamRequest): Promise<UpgradeOutcome> {
    assertRequestLine(request.method, request.target);
    let failure: unknown;
    for (const server of orderCandidates(this.#servers, request.affinity).slice(0, maxAttempts)) {
      const { clock, nonce, tls } = this.#options;
      const opened = await openUpgrade({ address: server.address, tls: tls(), request, clock, nonce });
      if (opened.type !== "unwritten") {
        server.note({ type: "answered" });
        if (opened.type === "switched") server.watchUpgraded(opened.socket);
        return opened;
      }
      this.#noteFailure(server, opened.cause);
      failure = opened.cause;
    }
    throw this.#unreachable(failure);
  }

  setServers(addresses: readonly ApiserverAddress[]): void {
    this.#forgetRetired();
    const kept = this.#servers.filter((server) => addresses.some((address) => sameAddress(address, server.address)));
    for (const server of this.#servers) {
      if (!kept.includes(server)) void this.#retire(server);
    }
    const added = addresses.filter((address) => !kept.some((server) => sameAddress(address, server.address)));
    this.#servers = [...kept, ...added.map((address) => this.#create(address))];
    if (this.#started) this.start();
  }

  state(): PoolState {
    const servers = this.#servers.map((server) => server.state());
    return { servers, ready: servers.some((server) => server.health === "ready") };
  }

  start(): void {
    this.#started = true;
    for (const server of this.#servers) server.startProbing();
  }

  async close(): Promise<void> {
    const servers = [...this.#servers, ...this.#retired];
    this.#servers = [];
    await Promise.all(servers.map(async (server) => server.close()));
  }

  async #send(attempt: () => AttemptRequest, affinity: string, body: ReplayableBody | undefined): Promise<UpstreamResponse> {
    const order = orderCandidates(this.#servers, affinity).slice(0, maxAttempts);
    let failed: Attempt | undefined;
    for (const [index, server] of order.entries()) {
      const request = attempt();
      const outcome = order.length === 1 ? await runAlone(server, attempt, request) : (await server.run(request, index > 0)).attempt;
      if (outcome.type === "answered") {
        const judged = await this.#judge(server, outcome.answer, request);
        const last = index === order.length - 1 || body?.replayable === false;
        if (last || judged.type === "response") return judged.response;
        continue;
      }
      throwIfAbandoned(outcome, request, body);
      failed = outcome;
      if (outcome.type !== "unwritable" && outcome.type !== "aborted") this.#noteFailure(server, outcome.cause);
      if (!mayRepeat(outcome, request)) break;
    }
    throw this.#failure(failed);
  }

  /** Learns from an answer; a stopping server's refusal is not one that the client should see while others are there. */
  async #judge(
    server: Apiserver,
    answer: Answer,
    request: AttemptRequest,
  ): Promise<{ readonly type: "response" | "stopping"; readonly response: UpstreamResponse }> {
    if (answer.status >= 500 && isOwnAnswer(request) && !looksLikeStatus(answer)) this.#noteFailure(server, undefined);
    else server.note({ type: "answered" });
    if (answer.status === 401 && isOwnAnswer(request)) this.#options.onUnauthorized?.();
    if (!maySayStopping(answer, request)) return { type: "response", response: answer };
    const { stopping, body } = await readStopping(answer);
    if (stopping) server.note({ type: "stopping" }, "it is shutting down");
    return { type: stopping ? "stopping" : "response", response: { status: answer.status, headers: answer.headers, body } };
  }

  /** Signals from requests may take out at most half of the servers: a bad client must not be able to empty the pool. */
  #noteFailure(server: Apiserver, cause: unknown): void {
    if (isRefusal(cause)) {
      server.note({ type: "refused" }, describe(cause));
      return;
    }
    const out = this.#servers.filter((other) => other !== server && other.ejected).length;
    server.note({ type: "failed", mayEject: (out + 1) * 2 <= this.#servers.length }, describe(cause));
  }

  #failure(failed: Attempt | undefined): GatewayError {
    if (failed === undefined || failed.type === "answered" || failed.type === "aborted") return this.#unreachable(undefined);
    const options = { cause: failed.cause };
    switch (failed.type) {
      case "unwritten":
        return this.#unreachable(failed.cause);
      case "lost":
        return new GatewayError(
          "UPSTREAM_LOST",
          `the apiserver closed the connection before it answered (${describe(failed.cause)})`,
          options,
        );
      case "timedOut":
        return new GatewayError("UPSTREAM_TIMEOUT", "the apiserver did not begin to answer in time", options);
      case "invalid":
        return new GatewayError("UPSTREAM_INVALID", `the apiserver's answer is not valid HTTP (${describe(failed.cause)})`, options);
      case "unwritable":
        return new GatewayError("REQUEST_INVALID", "the request's body has another length than its Content-Length says", options);
    }
  }

  #unreachable(cause: unknown): GatewayError {
    const count = this.#servers.length;
    const what = count === 1 ? "the apiserver" : `none of ${count} apiservers`;
    return new GatewayError("UPSTREAM_UNREACHABLE", `${what} ${count === 1 ? "cannot" : "can"} be reached (${describe(cause)})`, { cause });
  }

  #create(address: ApiserverAddress): Apiserver {
    const { tls, clock, random, authorization } = this.#options;
    const connection = { address, tls, clock, random };
    const probe = this.#options.probe?.(address) ?? createReadyzProbe({ connection, clock, authorization });
    return new Apiserver({ connection, probe, clock, random });
  }

  async #retire(server: Apiserver): Promise<void> {
    this.#retired.add(server);
    await server.retire();
  }

  #forgetRetired(): void {
    for (const server of this.#retired) {
      if (server.load === 0) this.#retired.delete(server);
    }
  }
}

/** The client's side ended it: that is no failure of a server. */
function throwIfAbandoned(outcome: Attempt, request: AttemptRequest, body: ReplayableBody | undefined): void {
  if (body?.failure !== undefined) throw body.failure;
  if (outcome.type === "aborted") throw abortReason(request.signal);
}

/** A lone server may have closed its idle connection at the wrong moment; a fresh one tells. */
async function runAlone(server: Apiserver, attempt: () => AttemptRequest, request: AttemptRequest): Promise<Attempt> {
  const first = await server.run(request, false);
  if (!first.reused || !mayRepeat(first.attempt, request)) return first.attempt;
  return (await server.run(attempt(), true)).attempt;
}

function mayRepeat(outcome: Attempt, request: AttemptRequest): boolean {
  if (outcome.type === "unwritten") return true;
  return outcome.type === "lost" && (request.method === "GET" || request.method === "HEAD") && request.body === undefined;
}

function isWatch(request: UpstreamRequest): boolean {
  const parsed = parseRequest(request.method, request.target);
  return parsed.type === "resource" && parsed.verb === "watch";
}

function toBytes(body: UpstreamRequest["body"]): Uint8Array | undefined {
  return body instanceof Uint8Array ? body : undefined;
}

/** A failure's code or name: texts of TLS and socket errors name addresses and certificates, which are for the log's `cause`. */
function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return "unknown";
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
}
