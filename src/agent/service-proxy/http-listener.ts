/** Small HTTP servers for small answers: health checks and metrics. Whoever can reach a node can reach some of them, so each is bounded. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Clock } from "#agent/clock.ts";

/** An answer as text. */
export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers a path; a request's other parts do not matter here. */
export type Answer = (path: string) => HttpAnswer;

/** Where to listen. */
export interface ListenTarget {
  readonly host: string;
  readonly port: number;
  /** `0.0.0.0` and `::` stand for the addresses of their own family alone; otherwise, as in Go's programs, for those of both. */
  readonly isOneFamily?: boolean;
}

export interface Listening {
  close(): Promise<void>;
}

/** Begins to listen; rejects when that is not possible. */
export type Listen = (target: ListenTarget, answer: Answer) => Promise<Listening>;

/** Connections at once to one server: load balancers' health checkers are dozens. */
const maxConnections = 256;

/** Time for a request to be sent, and for a connection to be idle: checkers ask every few seconds at most. */
const requestTimeoutMs = 5_000;

/** Header block of a request. */
const maxHeaderBytes = 8 << 10;

/** Listens with Node's HTTP server. */
export const listenHttp: Listen = async ({ host, port, isOneFamily = false }, answer) => {
  const options = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: requestTimeoutMs,
  };
  const server = createServer(options, (request, response) => respond(request, response, answer));
  server.maxConnections = maxConnections;
  server.on("clientError", (_error, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // Without a host Node takes all addresses of both families, or of IPv4 where the kernel has no other.
    const isEverywhere = !isOneFamily && (host === "0.0.0.0" || host === "::");
    server.listen({ port, ...(!isEverywhere && { host }), ipv6Only: isOneFamily, exclusive: true }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // Accepting may fail for a moment when file descriptors run out: the next connection may not.
  server.on("error", () => undefined);
  return { close: () => close(server) };
};

export interface KeepListeningOptions {
  readonly listen: Listen;
  readonly target: ListenTarget;
  readonly answer: Answer;
  readonly clock: Clock;
  /** Told each time it cannot listen. */
  readonly onFailure: (message: string) => void;
}

/** Time until an address is tried again, as kube-proxy's servers do. */
const listenRetryMs = 5_000;

/** Listens, and goes on trying while that fails: a kube-proxy that is being replaced may still hold the port. */
export class KeptListener {
  readonly #options: KeepListeningOptions;
  #listening: Promise<Listening | undefined> = Promise.resolve(undefined);
  #cancel: () => void = () => undefined;
  #isClosed = false;

  constructor(options: KeepListeningOptions) {
    this.#options = options;
  }

  /** Resolves when the first attempt is over: whether it listens. */
  async start(): Promise<boolean> {
    const { listen, target, answer, clock, onFailure } = this.#options;
    this.#listening = listen(target, answer).catch((thrown: unknown) => {
      onFailure(describe(thrown));
      if (!this.#isClosed) this.#cancel = clock.after(listenRetryMs, () => void this.start());
      return undefined;
    });
    return (await this.#listening) !== undefined;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await (await this.#listening)?.close();
    this.#cancel();
  }
}

function respond(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  const { status, contentType, headers = {}, body } = answer(path);
  response.writeHead(status, { "content-type": contentType, "x-content-type-options": "nosniff", ...headers });
  response.end(request.method === "HEAD" ? undefined : body);
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : "an unknown failure";
}
