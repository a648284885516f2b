/** Direct HTTPS requests to one apiserver as the cluster's admin: what the tests compare the gateway's answers with. */
import { request } from "node:https";
import type { IncomingMessage } from "node:http";

/** Where an apiserver is, and the client certificate to show it. */
export interface AdminAccess {
  readonly url: string;
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface AdminAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

export interface AdminRequest {
  readonly method?: string;
  readonly path: string;
  /** Sent as JSON unless a content type is given. */
  readonly body?: unknown;
  readonly contentType?: string;
}

const answerTimeoutMs = 30_000;

/** Sends one request on a connection of its own. Throws when there is no answer. */
export function askApiserver(access: AdminAccess, question: AdminRequest): Promise<AdminAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<AdminAnswer>();
  const outgoing = request(new URL(question.path, access.url), {
    method: question.method ?? "GET",
    ca: access.caPem,
    cert: access.certificatePem,
    key: access.keyPem,
    agent: false,
    timeout: answerTimeoutMs,
    headers: question.body === undefined ? {} : { "content-type": question.contentType ?? "application/json" },
  });
  outgoing.on("timeout", () => outgoing.destroy(new Error(`${access.url} did not answer within ${answerTimeoutMs / 1000} s`)));
  outgoing.on("error", reject);
  outgoing.on("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString("utf8") });
    });
  });
  outgoing.end(question.body === undefined ? undefined : JSON.stringify(question.body));
  return promise;
}

/** Whether an apiserver says that it is ready; a refused connection is a no. */
export async function isApiserverReady(access: AdminAccess): Promise<boolean> {
  try {
    return (await askApiserver(access, { path: "/readyz" })).status === 200;
  } catch {
    // Not listening yet, or not any more.
    return false;
  }
}
