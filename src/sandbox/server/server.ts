/** The HTTPS server: reads requests, writes answers, hands upgrades on, and tells the log about each. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:https";
import type { Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Cluster } from "#sandbox/cluster.ts";
import type { ServerCertificate } from "#sandbox/identity/certificate.ts";
import { upgrade } from "#sandbox/streams/upgrade.ts";
import { admit } from "./pipeline.ts";
import { failureReply, sendReply } from "./reply.ts";
import { answer } from "./routes.ts";
import { failure } from "./status.ts";

/** One line of the request log. */
export interface RequestRecord {
  readonly auditId: string;
  /** The authenticated caller. */
  readonly caller: string;
  /** The user that the request acted as; "" when it was refused before that was known. */
  readonly user: string;
  readonly method: string;
  readonly path: string;
  readonly code: number;
}

/** What the server needs. */
export interface ServerParts {
  readonly certificate: ServerCertificate;
  readonly log: (record: RequestRecord) => void;
  readonly stopping: AbortSignal;
}

/** Creates the server; `cluster` is asked for at each request, because the address is known only after the server listens. */
export function createApiServer(parts: ServerParts, cluster: () => Cluster): Server {
  const { certificatePem: cert, keyPem: key } = parts.certificate;
  const server = createServer({ cert, key, maxHeaderSize: maxHeaderBytes });
  // Watches and logs stay open for as long as they are read.
  server.requestTimeout = 0;
  server.on("request", (message, response) => void handle(parts, cluster(), { message, response }));
  server.on("upgrade", (message: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    upgrade(cluster(), { message, socket, head, log: (record) => parts.log({ ...record, auditId: auditIdOf(message) }) });
  });
  return server;
}

/** Identity headers of a user with many groups; an apiserver takes up to 1 MiB. */
const maxHeaderBytes = 256 * 1024;

async function handle(
  parts: ServerParts,
  cluster: Cluster,
  { message, response }: { readonly message: IncomingMessage; readonly response: ServerResponse },
): Promise<void> {
  const auditId = auditIdOf(message);
  response.setHeader("Audit-Id", auditId);
  const admission = admit(cluster, message);
  const { request } = admission;
  const record = {
    auditId,
    caller: admission.caller.name,
    user: request.type === "ok" ? request.value.user.name : "",
    method: message.method ?? "",
    path: (message.url ?? "").split("?")[0] ?? "",
  };
  try {
    const reply = request.type === "failure" ? failureReply(request.status) : await answer(cluster, request.value);
    parts.log({ ...record, code: reply.type === "stream" ? 200 : reply.code });
    await sendReply(response, reply, parts.stopping);
  } catch (thrown) {
    parts.log({ ...record, code: 500 });
    const message500 = `Internal error occurred: ${thrown instanceof Error ? thrown.message : "unknown"}`;
    if (response.headersSent) response.destroy();
    else await sendReply(response, failureReply(failure(500, "InternalError", message500)), parts.stopping);
  }
}

/** The client's Audit-ID, as apiservers keep it, else a new one. */
function auditIdOf(message: IncomingMessage): string {
  const given = message.headers["audit-id"];
  return typeof given === "string" && /^[-A-Za-z0-9_.:/]{1,64}$/.test(given) ? given : randomUUID();
}
