/** HTTP as the session files use it: a time limit, a size limit, no redirects, and answers as values. */
import { parseJsonObject } from "./private-file.ts";
import type { JsonObject } from "./private-file.ts";

export type Fetch = typeof globalThis.fetch;

export type HttpAnswer =
  | { readonly type: "answered"; readonly status: number; readonly body: JsonObject | undefined }
  | { readonly type: "unreachable"; readonly detail: string };

/** A person waits for it; a healthy issuer answers in well under a second. */
export const requestTimeoutMs = 15_000;

/** Token answers hold a few kilobytes; more is a fault or an attack. */
const maxAnswerBytes = 256 * 1024;

/** One request for a JSON answer. A redirect counts as an answer without a body: following it could carry a secret elsewhere. */
export async function requestJson(fetch: Fetch, url: string, init: RequestInit): Promise<HttpAnswer> {
  try {
    const response = await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(requestTimeoutMs) });
    return { type: "answered", status: response.status, body: parseJsonObject(await readBoundedText(response, maxAnswerBytes)) };
  } catch (thrown) {
    return { type: "unreachable", detail: networkDetail(thrown) };
  }
}

/** Why a request got no answer, in a few words: the system's code, such as ECONNREFUSED, where there is one. */
export function networkDetail(thrown: unknown): string {
  if (!(thrown instanceof Error)) return "unknown fault";
  if (thrown.name === "TimeoutError") return `no answer within ${requestTimeoutMs / 1000} s`;
  const cause = thrown.cause instanceof Error ? thrown.cause : thrown;
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
}

/** The whole body as text; throws when it is longer than the limit. */
export async function readBoundedText(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new Error("the answer is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
