/** A plain request: its answer's head and bytes go to the user as they come, and stop coming while the user does not read. */
import type { Readable } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import { requestHeaders } from "./admitted.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import { RequestBody } from "./request-body.ts";

const plain = { messageEnd: false, text: false };

/** Sends the request and carries its answer; resolves when the answer's head is on its way. */
export async function forwardHttp(
  options: HandlerOptions,
  admitted: AdmittedRequest,
  stream: TunnelStream,
  abort: AbortController,
): Promise<void> {
  const { open, token } = admitted;
  const body = open.hasBody ? new RequestBody() : undefined;
  const exchange = new HttpExchange(admitted, stream, abort);
  const leave = options.sessions.enter(token, {
    onExpired: () => exchange.fail("EXPIRED", "the credential has ended"),
    onExtended: (expiresAtMs) => stream.extend(expiresAtMs),
  });
  exchange.onOver = leave;
  exchange.listen(body);
  const startedMs = performance.now();
  try {
    const response = await options.apiservers.request({
      method: open.method,
      target: open.target,
      headers: await requestHeaders(options, admitted, []),
      body,
      longRunning: admitted.longRunning,
      affinity: admitted.identity.username,
      signal: abort.signal,
    });
    if (stream.isClosed) return void response.body.destroy();
    assertAccepted(response.status, admitted);
    stream.sendHead({
      status: response.status,
      headers: response.headers,
      expiresAtMs: token.expiresAtMs,
      timing: { verifyMs: admitted.verifyMs, upstreamMs: performance.now() - startedMs },
    });
    exchange.carry(response.status, response.body);
  } catch (thrown) {
    leave();
    if (abort.signal.aborted) throw new GatewayError("AGENT_GONE", "the user has gone", { cause: thrown });
    throw thrown;
  }
}

/** The apiserver's own 401 is about the agent's credential: told to a user as theirs, it would make kubectl sign in again for nothing. */
function assertAccepted(status: number, admitted: AdmittedRequest): void {
  const { request } = admitted;
  const isProxied = request.type === "resource" && request.proxyTail !== undefined;
  if (status === 401 && !isProxied) throw new GatewayError("AGENT_CREDENTIAL", "the apiserver refused the agent's own credential");
}

/** One request's way through the agent, once it was sent. */
class HttpExchange {
  onOver: () => void = () => undefined;
  readonly #admitted: AdmittedRequest;
  readonly #stream: TunnelStream;
  readonly #abort: AbortController;
  #source: Readable | undefined;
  #isOver = false;

  constructor(admitted: AdmittedRequest, stream: TunnelStream, abort: AbortController) {
    this.#admitted = admitted;
    this.#stream = stream;
    this.#abort = abort;
  }

  listen(body: RequestBody | undefined): void {
    this.#stream.listen({
      onData: (payload, _kind, consumed) => (body === undefined ? consumed() : body.accept(payload, consumed)),
      onEnd: () => body?.finish(),
      onReset: (code) => {
        this.#finish(0, code);
        this.#abort.abort(new GatewayError("AGENT_GONE", "the user has gone"));
        body?.destroy();
        this.#source?.destroy();
      },
      onDrain: () => {
        if (this.#stream.queuedCost < highWaterBytes) this.#source?.resume();
      },
    });
  }

  carry(status: number, source: Readable): void {
    this.#source = source;
    source.on("data", (chunk: Uint8Array) => {
      this.#stream.write(chunk, plain);
      if (this.#stream.queuedCost >= highWaterBytes) source.pause();
    });
    source.on("end", () => {
      this.#stream.end();
      this.#finish(status, "completed");
    });
    source.on("error", () => this.fail("TRUNCATED", "the apiserver broke off its answer"));
  }

  fail(code: ResetCode, reason: string): void {
    if (this.#isOver) return;
    this.#finish(0, code);
    this.#stream.reset(code, reason);
    this.#abort.abort(new GatewayError("SESSION_ENDED", reason));
    this.#source?.destroy();
  }

  #finish(status: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onOver();
    this.#admitted.record.end({
      status,
      reason,
      bytesIn: this.#stream.receivedBytes,
      bytesOut: this.#stream.sentBytes + this.#stream.queuedBytes,
    });
  }
}
