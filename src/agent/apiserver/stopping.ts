/**
 * Recognises the answer of an apiserver that is stopping (--shutdown-send-retry-after): 429, `Connection: close` and a known text
 * (k8s.io/apiserver pkg/server/filters/with_retry_after.go). Such a request was refused before it was looked at, so it may go to another server.
 */
import { Readable } from "node:stream";
import { parseRequest } from "#core/kube/request-path.ts";
import type { Answer, AttemptRequest } from "./exchange.ts";
import { headerValue } from "./headers.ts";
import { maxShutdownTextBytes } from "./limits.ts";

const stoppingText = "The apiserver is shutting down";

/** Whether an answer may be the stopping one; its body then has to be looked at. An application behind `/proxy` could have written any text. */
export function maySayStopping(answer: Answer, request: AttemptRequest): boolean {
  if (answer.status !== 429 || !answer.connectionCloses) return false;
  if (!(headerValue(answer.headers, "content-type") ?? "").startsWith("text/plain")) return false;
  const length = Number(headerValue(answer.headers, "content-length") ?? Number.NaN);
  return length <= maxShutdownTextBytes && !reachesApplication(request.method, request.target);
}

/** Reads the short body of such an answer. */
export async function readStopping(answer: Answer): Promise<{ readonly stopping: boolean; readonly body: Readable }> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of answer.body) {
      if (chunk instanceof Uint8Array) chunks.push(chunk);
    }
  } catch {
    return { stopping: false, body: answer.body }; // it broke off: the reader of the body is told so
  }
  const bytes = Buffer.concat(chunks);
  return {
    stopping: bytes.toString("latin1").startsWith(stoppingText),
    body: Readable.from(bytes.length > 0 ? [bytes] : [], { objectMode: false }),
  };
}

/** Whether an error must come from the apiserver itself: not from an application or an aggregated API behind it. */
export function isOwnAnswer(request: AttemptRequest): boolean {
  return request.target.startsWith("/api/") && !reachesApplication(request.method, request.target);
}

/** Whether a 5xx is one that the apiserver's API machinery wrote: a Status in one of its encodings. */
export function looksLikeStatus(answer: Answer): boolean {
  return (headerValue(answer.headers, "content-type") ?? "").startsWith("application/");
}

function reachesApplication(method: string, target: string): boolean {
  const parsed = parseRequest(method, target);
  return parsed.type !== "nonResource" && !(parsed.type === "resource" && parsed.proxyTail === undefined && parsed.verb !== "proxy");
}
