/** An apiserver that does what a test says, and remembers what it was asked. Plain HTTP, on a port of its own. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Lines in order, names as sent. */
  readonly headers: readonly (readonly [string, string])[];
}

export interface ScriptedApiserver {
  readonly port: number;
  /** Requests of users, without the agent's own probes and reviews. */
  readonly seen: SeenRequest[];
  /** What a SubjectAccessReview says. */
  review: (spec: Record<string, unknown>) => boolean;
  onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Writes a kubeconfig that leads here, with the agent's token. */
  kubeconfig(path: string): Promise<string>;
  stop(): Promise<void>;
}

export const agentToken = "the-agents-own-token";

export async function startScriptedApiserver(): Promise<ScriptedApiserver> {
  const server = createServer((request, response) => void answer(scripted, request, response));
  const sockets = new Set<Duplex>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("upgrade", (request, socket, head) => {
    scripted.seen.push(remember(request));
    scripted.onUpgrade(request, socket, head);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = (server.address() as AddressInfo).port; // a TCP server's address is never text
  const scripted: ScriptedApiserver = {
    port,
    seen: [],
    review: () => true,
    onRequest: (_request, response) => void response.writeHead(200, { "content-type": "application/json" }).end("{}"),
    onUpgrade: (_request, socket) => socket.destroy(),
    kubeconfig: async (path) => {
      const kubeconfig = {
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${port}` } }],
        users: [{ name: "u", user: { token: agentToken } }],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        "current-context": "c",
      };
      await writeFile(path, JSON.stringify(kubeconfig));
      return path;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return scripted;
}

async function answer(scripted: ScriptedApiserver, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === "/readyz") return void response.end("ok");
  if (request.url?.startsWith("/apis/authorization.k8s.io/v1/subjectaccessreviews") === true) {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer); // a request without an encoding gives Buffers
    const review: { readonly spec: Record<string, unknown> } = JSON.parse(Buffer.concat(parts).toString("utf8"));
    const body = JSON.stringify({ ...review, status: { allowed: scripted.review(review.spec) } });
    return void response.writeHead(201, { "content-type": "application/json" }).end(body);
  }
  scripted.seen.push(remember(request));
  scripted.onRequest(request, response);
}

function remember(request: IncomingMessage): SeenRequest {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2)
    headers.push([request.rawHeaders[index] ?? "", request.rawHeaders[index + 1] ?? ""]);
  return { method: request.method ?? "", target: request.url ?? "", headers };
}
