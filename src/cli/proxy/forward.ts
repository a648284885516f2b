/**
 * A plain request on its way to the apiserver and back: bodies both ways as they come, headers at once, nothing kept or decoded. An
 * answer that breaks off is cut off at the client too: a list that ends cleanly in the middle is silent data loss.
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import { withoutHopByHop } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { answerText } from "./answer.ts";
import { upstreamErrorText } from "./upstream.ts";

/** Header lines of Node's flat list. */
export function toPairs(flat: readonly string[]): HeaderPairs {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[index * 2] ?? "", flat[index * 2 + 1] ?? ""] as const);
}

/** How the client framed its body; a body of another length would be another request to the apiserver. */
export function framingHeaders(request: IncomingMessage): HeaderPairs {
  const length = request.headers["content-length"];
  if (request.headers["transfer-encoding"] !== undefined) return [["Transfer-Encoding", "chunked"]];
  if (length !== undefined) return [["Content-Length", length]];
  return bodylessMethods.has(request.method ?? "") ? [] : [["Content-Length", "0"]];
}

/** Methods whose requests have no body unless they say so. */
const bodylessMethods: ReadonlySet<string | undefined> = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]);

export interface Forwarding {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Starts the request to the apiserver. */
  readonly send: () => ClientRequest;
  /** Told the answer's status. */
  readonly onStatus: (status: number) => void;
}

/** Sends a request and relays its answer. */
export function forward(forwarding: Forwarding): void {
  const { request, response, send, onStatus } = forwarding;
  const sent = send();
  const mayRepeat = hasNoBody(request);
  let isAnswered = false;
  sent.on("response", (answer) => {
    isAnswered = true;
    onStatus(answer.statusCode ?? 0);
    relay(answer, response);
  });
  sent.on("error", (error) => {
    if (response.destroyed || isAnswered) return;
    // A kept connection that the apiserver closed at that moment: Go's transport dials again too.
    if (mayRepeat && sent.reusedSocket && "code" in error && error.code === "ECONNRESET") forward({ ...forwarding, send });
    else answerText(response, 500, upstreamErrorText(error));
  });
  response.on("close", () => {
    if (!response.writableFinished) sent.destroy();
  });
  if (mayRepeat) {
    sent.end();
    request.resume();
  } else request.pipe(sent);
}

/** Whether it is one that may be sent twice, and whole at once. */
function hasNoBody({ method, headers }: IncomingMessage): boolean {
  const isSafe = method === "GET" || method === "HEAD";
  return isSafe && headers["transfer-encoding"] === undefined && (headers["content-length"] ?? "0") === "0";
}

function relay(answer: IncomingMessage, response: ServerResponse): void {
  const headers = withoutHopByHop(toPairs(answer.rawHeaders)).flat();
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? "", headers);
  response.flushHeaders();
  answer.on("error", () => response.destroy());
  answer.on("end", () => {
    const trailers = toPairs(answer.rawTrailers);
    if (trailers.length > 0) response.addTrailers(trailers.map(([name, value]): [string, string] => [name, value]));
    response.end();
  });
  answer.pipe(response, { end: false });
}
