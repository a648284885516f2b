/** One attempt of one request on one connection, and precisely how far it came: that decides whether it may be made again. */
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { ResponseBody } from "./body.ts";
import type { EarlyEnd } from "./body.ts";
import type { Connection } from "./connections.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { headerValue, readResponseHead } from "./headers.ts";
import { bodyIdleTimeoutMs, headTimeoutMs, maxInformational } from "./limits.ts";

/** A head and the body behind it. `connectionCloses`: the server said `Connection: close`. */
export interface Answer {
  readonly status: number;
  readonly headers: HeaderPairs;
  readonly body: ResponseBody;
  readonly connectionCloses: boolean;
}

export type Attempt =
  | { readonly type: "answered"; readonly answer: Answer }
  /** Nothing of it was written: any request may go elsewhere. */
  | { readonly type: "unwritten"; readonly cause: Error }
  /** Written, and the connection was lost before a byte of an answer. */
  | { readonly type: "lost"; readonly cause: Error }
  /** The head did not come in time. */
  | { readonly type: "timedOut"; readonly cause: Error }
  /** The answer broke off in its head, or is not HTTP. */
  | { readonly type: "invalid"; readonly cause: Error }
  /** The request cannot be written as it is: its body has another length than it says. */
  | { readonly type: "unwritable"; readonly cause: Error }
  | { readonly type: "aborted" };

/** A request as an attempt needs it; `headers` is flat. */
export interface AttemptRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: string[];
  readonly body: Uint8Array | Readable | undefined;
  readonly longRunning: boolean;
  readonly watch: boolean;
  readonly signal: AbortSignal;
}

/** A running attempt. */
export class Exchange implements Dispatcher.DispatchHandler {
  /** How it went: settles with the head, or with the failure before it. Never rejects. */
  readonly attempt: Promise<Attempt>;
  readonly #request: AttemptRequest;
  readonly #over: () => void;
  #resolve: (attempt: Attempt) => void = () => undefined;
  #connection: Connection | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #state: "queued" | "written" | "answering" | "body" | "over" = "queued";
  #informational = 0;
  #body: ResponseBody | undefined;
  #stopped: Error | undefined;
  #brokeOff = false;

  /** `over` runs once, when the connection is free again. */
  constructor(request: AttemptRequest, over: () => void) {
    this.#request = request;
    this.#over = over;
    this.attempt = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** The response's body, once it has begun. */
  get body(): ResponseBody | undefined {
    return this.#body;
  }

  /** Whether the connection was lost in the middle of the answer, and not by us. */
  get brokeOff(): boolean {
    return this.#brokeOff;
  }

  start(connection: Connection): void {
    const { method, target, headers, body, longRunning, signal } = this.#request;
    if (signal.aborted) {
      this.#finish({ type: "aborted" });
      return;
    }
    signal.addEventListener("abort", this.#abort);
    this.#connection = connection;
    connection.client.dispatch(
      {
        method,
        path: target,
        headers,
        body: body ?? null,
        headersTimeout: longRunning ? 0 : headTimeoutMs,
        bodyTimeout: longRunning ? 0 : bodyIdleTimeoutMs,
      },
      this,
    );
  }

  /** Gives up while no head has come: the server is dead. */
  giveUp(reason: Error): void {
    if (this.#state === "queued" || this.#state === "written") this.#stop(reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stopped !== undefined) {
      controller.abort(this.#stopped);
      return;
    }
    this.#state = "written";
  }

  onResponseStarted(): void {
    this.#state = "answering";
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (status < 200) {
      this.#informational += 1;
      if (this.#informational > maxInformational) controller.abort(new Error("too many informational responses"));
      return;
    }
    const pairs = rawPairs(controller);
    this.#state = "body";
    const source = {
      pause: () => controller.pause(),
      resume: () => controller.resume(),
      abort: () => controller.abort(new Error("the reader has gone")),
    };
    const { headers, options } = readResponseHead(pairs);
    this.#body = new ResponseBody(source, this.#earlyEnd(status, headers), () => this.#finish(undefined));
    const connectionCloses = options.has("close");
    this.#resolve({ type: "answered", answer: { status, headers, body: this.#body, connectionCloses } });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.receive(chunk);
  }

  onResponseEnd(): void {
    this.#body?.complete();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#body !== undefined) {
      this.#brokeOff = this.#state !== "over";
      this.#body.fail(error);
    } else this.#finish(this.#classify(error));
  }

  #abort = (): void => {
    const reason = abortReason(this.#request.signal);
    if (this.#body === undefined) this.#stop(reason);
    else this.#body.destroy(reason);
  };

  #stop(reason: Error): void {
    this.#stopped = reason;
    if (this.#controller !== undefined) {
      this.#controller.abort(reason);
      return;
    }
    // It waits for its connection to be dialled and will be dropped then; nothing else may wait behind it.
    if (this.#connection !== undefined) this.#connection.worn = true;
    this.#finish(this.#classify(reason));
  }

  #earlyEnd(status: number, headers: HeaderPairs): EarlyEnd {
    if (!this.#request.watch || status !== 200) return "cut";
    const json = headerValue(headers, "content-type")?.startsWith("application/json") ?? false;
    return json && headerValue(headers, "content-encoding") === undefined ? "lines" : "clean";
  }

  #classify(cause: Error): Attempt {
    if (this.#request.signal.aborted) return { type: "aborted" };
    const code = "code" in cause ? cause.code : undefined;
    if (code === "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH") return { type: "unwritable", cause };
    switch (this.#state) {
      case "queued":
        return { type: "unwritten", cause };
      case "written":
        return { type: code === "UND_ERR_HEADERS_TIMEOUT" ? "timedOut" : "lost", cause };
      case "answering":
      case "body":
      case "over":
        return { type: "invalid", cause };
    }
  }

  #finish(attempt: Attempt | undefined): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#request.signal.removeEventListener("abort", this.#abort);
    if (attempt !== undefined) this.#resolve(attempt);
    this.#over();
  }
}

/** The signal's reason as an error. */
export function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error("the request was abandoned");
}

/** The header lines as they came; undici's parsed form would join and re-decode them. */
function rawPairs(controller: Dispatcher.DispatchController): HeaderPairs {
  const raw = controller.rawHeaders;
  const pairs: [string, string][] = [];
  if (!Array.isArray(raw)) return pairs;
  for (let index = 0; index + 1 < raw.length; index += 2) pairs.push([toLatin1(raw[index]), toLatin1(raw[index + 1])]);
  return pairs;
}

function toLatin1(bytes: Buffer | string | undefined): string {
  if (bytes === undefined) return "";
  return typeof bytes === "string" ? bytes : bytes.toString("latin1");
}
