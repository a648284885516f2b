/** Opens forwards at the gateway with the kubeconfig's credential, and tells its refusals as they were meant. */
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { errorTable, GatewayError } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { isObject, listField, objectField, textField } from "#core/json-fields.ts";
import { forwardPath, forwardProtocol, forwardTargetHeader } from "#core/kube/forward-target.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { maxMessageBytes } from "#core/tunnel/limits.ts";
import type { CredentialSource } from "#cli/proxy/credentials.ts";
import { upstreamErrorText } from "#cli/proxy/upstream.ts";
import type { Upstream } from "#cli/proxy/upstream.ts";
import { version } from "#cli/version.ts";
import { ForwardConnection } from "./connection.ts";
import { firstRetryMs, handshakeTimeoutMs, longestRetryMs, maxAnswerBytes, patienceMs } from "./limits.ts";

export interface ForwardGatewayOptions {
  /** The cluster's URL. */
  readonly server: URL;
  readonly upstream: Upstream;
  readonly credentials: CredentialSource;
  /** Lines that run requests as somebody else. */
  readonly impersonation: HeaderPairs;
  readonly now: () => number;
  readonly wait: (durationMs: number) => Promise<void>;
}

/** Failures that pass while the gateway or an agent is replaced. */
const passing: ReadonlySet<ErrorCode> = new Set(["GATEWAY_UNREACHABLE", "AGENT_OFFLINE", "AGENT_GONE", "OVERLOADED"]);

export class ForwardGateway {
  readonly #options: ForwardGatewayOptions;

  constructor(options: ForwardGatewayOptions) {
    this.#options = options;
  }

  /** What would be reached, such as `pods/web/shop-5d9/8080`. @throws GatewayError */
  async describe(target: ForwardTarget): Promise<string> {
    const answer = await this.#ask(target);
    const value: unknown = answer.status === 200 ? parseJson(answer.body) : undefined;
    const text = isObject(value) ? textField(value, "target") : "";
    if (text === "") throw refusalOf(answer);
    return text;
  }

  /** Opens one; waits some seconds for a gateway or agent that is away. @throws GatewayError */
  async open(target: ForwardTarget, signal: AbortSignal): Promise<ForwardConnection> {
    const { now, wait } = this.#options;
    const untilMs = now() + patienceMs;
    for (let pauseMs = firstRetryMs; ; pauseMs = Math.min(2 * pauseMs, longestRetryMs)) {
      try {
        return await this.#openOnce(target, signal);
      } catch (thrown) {
        const isPassing = thrown instanceof GatewayError && passing.has(thrown.code);
        if (!isPassing || signal.aborted || now() + pauseMs > untilMs) throw thrown;
        await wait(pauseMs);
      }
    }
  }

  async #openOnce(target: ForwardTarget, signal: AbortSignal): Promise<ForwardConnection> {
    const { upstream, credentials } = this.#options;
    const { authorization, tls } = await credentials.current();
    const socket = new WebSocket(this.#url(target).href.replace(/^http/, "ws"), [forwardProtocol], {
      agent: upstream.agent(tls),
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      handshakeTimeout: handshakeTimeoutMs,
      headers: toHeaderFields(this.#headers(authorization)),
    });
    const abort = (): void => socket.terminate();
    signal.addEventListener("abort", abort);
    try {
      return await opened(socket);
    } catch (thrown) {
      if (thrown instanceof GatewayError && thrown.code.startsWith("TOKEN_")) credentials.refused();
      throw thrown;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #ask(target: ForwardTarget): Promise<Answer> {
    const { upstream, credentials } = this.#options;
    const { authorization, tls } = await credentials.current();
    const url = this.#url(target);
    const headers = [["host", upstream.host], ["accept", "application/json"], ...this.#headers(authorization)].flat();
    return new Promise((resolve, reject) => {
      const request = upstream.send({ method: "GET", target: url.pathname + url.search, headers, tls, isUpgrade: false });
      request.on("response", (response) => readAnswer(response).then(resolve, reject));
      request.on("error", (error) => reject(unreachable(error)));
      request.end();
    });
  }

  #url(target: ForwardTarget): URL {
    const url = new URL(this.#options.server);
    const base = url.pathname.replace(/\/$/, "");
    return new URL(`${url.origin}${base}${forwardPath(target)}`);
  }

  #headers(authorization: string | undefined): HeaderPairs {
    const own: HeaderPairs = authorization === undefined ? [] : [["authorization", authorization]];
    return [["user-agent", `sallyport/${version}`], ...own, ...this.#options.impersonation];
  }
}

/** Names that stand several times, such as groups', have a list: each value is a line. */
function toHeaderFields(pairs: HeaderPairs): Record<string, string[]> {
  const fields: Record<string, string[]> = {};
  for (const [name, value] of pairs) (fields[name] ??= []).push(value);
  return fields;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function opened(socket: WebSocket): Promise<ForwardConnection> {
  return new Promise((resolve, reject) => {
    let chosen = "";
    socket.once("upgrade", (response) => {
      const header = response.headers[forwardTargetHeader];
      chosen = typeof header === "string" ? header : "";
    });
    socket.once("unexpected-response", (_request, response) => {
      readAnswer(response).then((answer) => reject(refusalOf(answer)), reject);
    });
    socket.once("error", (error) => reject(unreachable(error)));
    // In the turn of the opening, so that no message comes before somebody listens.
    socket.once("open", () => resolve(new ForwardConnection(socket, chosen)));
  });
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of response) {
      if (!Buffer.isBuffer(part)) continue;
      size += part.length;
      if (size > maxAnswerBytes) break;
      parts.push(part);
    }
  } catch (thrown) {
    throw unreachable(thrown instanceof Error ? thrown : new Error("the answer broke off"));
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(parts).toString("utf8") };
}

/** The gateway's Status names a code of the error table; what answers otherwise is no gateway. */
function refusalOf({ status, body }: Answer): GatewayError {
  const value = parseJson(body);
  const [cause] = isObject(value) ? listField(objectField(value, "details"), "causes").filter(isObject) : [];
  const code = Object.keys(errorTable).find((each): each is ErrorCode => cause !== undefined && each === textField(cause, "reason"));
  if (code !== undefined && cause !== undefined) return new GatewayError(code, textField(cause, "message"));
  return new GatewayError(
    "NOT_FOUND",
    `the kubeconfig's server answered ${status}, not as a Sallyport gateway: for a cluster that is reached directly, use kubectl port-forward`,
  );
}

function unreachable(error: Error): GatewayError {
  return new GatewayError("GATEWAY_UNREACHABLE", `the gateway cannot be reached: ${upstreamErrorText(error)}`, { cause: error });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // SyntaxError: no Status, which the caller tells
  }
}
