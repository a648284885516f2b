/** What a handler answers, and how it is written to the connection. */
import type { ServerResponse } from "node:http";
import { once } from "node:events";
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { FailureStatus } from "./status.ts";

/** An answer. */
export type Reply =
  | {
      readonly type: "json";
      readonly code: number;
      readonly body: JsonObject;
      readonly headers?: Readonly<Record<string, string>>;
      readonly warnings?: readonly string[];
    }
  | { readonly type: "text"; readonly code: number; readonly body: string; readonly contentType?: string }
  | { readonly type: "empty"; readonly code: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly type: "stream"; readonly contentType: string; readonly run: (sink: Sink) => Promise<void> };

/** Where a stream is written to. */
export interface Sink {
  /** Ends when the client goes or the sandbox stops. */
  readonly signal: AbortSignal;
  /** Bytes that the client has not read yet. */
  unreadBytes(): number;
  write(chunk: Buffer | string): void;
  /** Resolves when the client has read enough, or is gone. */
  drained(): Promise<void>;
}

/** A JSON answer. */
export function json(body: JsonObject, code = 200): Reply {
  return { type: "json", code, body };
}

/** A failure's answer; the code is the Status' own. */
export function failureReply(status: FailureStatus): Reply {
  return { type: "json", code: status.code, body: status };
}

/** Writes an answer. Streams end when their run ends or the client goes. */
export async function sendReply(response: ServerResponse, reply: Reply, stopping: AbortSignal): Promise<void> {
  response.setHeader("Cache-Control", "no-cache, private");
  switch (reply.type) {
    case "json":
      return sendJson(response, reply);
    case "text":
      response.writeHead(reply.code, {
        "Content-Type": reply.contentType ?? "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
      });
      return void response.end(reply.body);
    case "empty":
      response.writeHead(reply.code, reply.headers);
      return void response.end();
    case "stream":
      return sendStream(response, reply, stopping);
  }
}

function sendJson(response: ServerResponse, reply: Extract<Reply, { type: "json" }>): void {
  const text = `${JSON.stringify(reply.body)}\n`;
  const warnings = (reply.warnings ?? []).map((warning) => `299 - "${warning.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "'")}"`);
  if (warnings.length > 0) response.setHeader("Warning", warnings);
  response.writeHead(reply.code, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text), ...reply.headers });
  response.end(text);
}

async function sendStream(response: ServerResponse, reply: Extract<Reply, { type: "stream" }>, stopping: AbortSignal): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const signal = AbortSignal.any([gone.signal, stopping]);
  response.writeHead(200, { "Content-Type": reply.contentType, "X-Content-Type-Options": "nosniff" });
  response.flushHeaders(); // a watch may stay silent for minutes, and clients wait for the headers
  await reply.run({
    signal,
    unreadBytes: () => response.writableLength,
    write: (chunk) => void response.write(chunk),
    drained: async () => {
      if (!response.writableNeedDrain || signal.aborted) return;
      await once(response, "drain", { signal }).catch(() => undefined); // aborted: the client is gone
    },
  });
  response.end();
}
