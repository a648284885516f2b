/** Pools and requests with defaults, so that a test names only what it is about. */
import type { Readable } from "node:stream";
import { systemClock } from "#agent/clock.ts";
import { createApiserverPool } from "#agent/apiserver/pool.ts";
import type { PoolOptions } from "#agent/apiserver/pool.ts";
import type { ApiserverPool, ClientTls, UpstreamRequest } from "#agent/apiserver/upstream.ts";

export const plainTls: ClientTls = { ca: undefined, certificate: undefined, key: undefined, serverName: undefined, insecure: false };

export function makePool(urls: readonly string[], options: Partial<PoolOptions> = {}): ApiserverPool {
  return createApiserverPool({
    servers: urls.map((url) => ({ url, ca: undefined, serverName: undefined })),
    tls: () => plainTls,
    authorization: async () => undefined,
    clock: systemClock,
    random: () => 0.5,
    nonce: () => Buffer.alloc(16, 7),
    ...options,
  });
}

export function makeRequest(request: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method: "GET",
    target: "/api/v1/pods",
    headers: [],
    body: undefined,
    longRunning: false,
    affinity: "alice",
    signal: new AbortController().signal,
    ...request,
  };
}

/** All bytes of a body, as latin1 text. */
export async function readAll(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk as Uint8Array)); // bodies carry bytes only
  return Buffer.concat(chunks).toString("latin1");
}

/** The code of what a promise rejects with. */
export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return "fulfilled";
  } catch (error) {
    return error instanceof Error && "code" in error ? error.code : error;
  }
}
