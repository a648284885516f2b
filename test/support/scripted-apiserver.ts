/** An apiserver that does what a test says, and remembers what it was asked. Plain HTTP, on a port of its own. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";

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
  /** What a SubjectAccessReview says; one that throws answers 500. */
  review: (spec: Record<string, unknown>) => boolean;
  /** The specs of all reviews that were asked for. */
  readonly reviews: Record<string, unknown>[];
  /** Every byte that came, on any connection, one character for each. */
  readonly bytes: () => string;
  onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Writes a kubeconfig that leads here, with the agent's token. */
  kubeconfig(path: string): Promise<string>;
  /** Resolves with the first request of a user that fits, whether it has come already or not. */
  whenSeen(fits: (request: SeenRequest) => boolean): Promise<SeenRequest>;
  /** Resolves when so many requests of users that fit have come. */
  whenSeenCount(count: number, fits: (request: SeenRequest) => boolean): Promise<void>;
  /** Forgets what was seen and does again what it does at first. */
  reset(): void;
  /** Breaks every connection. */
  cut(): void;
  stop(): Promise<void>;
}

export const agentToken = "the-agents-own-token";

export async function startScriptedApiserver(): Promise<ScriptedApiserver> {
  const watchers = new Set<() => void>();
  const remember = (request: IncomingMessage) => {
    scripted.seen.push(seenRequest(request));
    for (const watcher of watchers) watcher();
  };
  const server = createServer((request, response) => void answer(scripted, remember, request, response));
  const sockets = new Set<Duplex>();
  let received: Buffer[] = [];
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("data", (chunk: Buffer) => received.push(chunk));
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("upgrade", (request, socket, head) => {
    remember(request);
    socket.on("error", () => undefined); // a test breaks it
    scripted.onUpgrade(request, socket, head);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = (server.address() as AddressInfo).port; // a TCP server's address is never text
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const scripted: ScriptedApiserver = {
    port,
    seen: [],
    reviews: [],
    ...firstScript,
    bytes: () => Buffer.concat(received).toString("latin1"),
    kubeconfig: async (path) => writeKubeconfig(path, port),
    whenSeen: (fits) =>
      new Promise((resolve) => {
        const look = () => {
          const found = scripted.seen.find((request) => fits(request));
          if (found === undefined) return;
          watchers.delete(look);
          resolve(found);
        };
        watchers.add(look);
        look();
      }),
    whenSeenCount: (count, fits) =>
      new Promise((resolve) => {
        const look = () => {
          if (scripted.seen.filter((request) => fits(request)).length < count) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
    reset: () => {
      scripted.seen.length = 0;
      scripted.reviews.length = 0;
      received = [];
      Object.assign(scripted, firstScript);
    },
    cut,
    stop: async () => {
      cut();
      server.close();
      await once(server, "close");
    },
  };
  return scripted;
}

/** Answers an upgrade with a WebSocket. */
export async function acceptWebSocket(request: IncomingMessage, socket: Duplex, head: Buffer, protocol?: string): Promise<WebSocket> {
  const server = new WebSocketServer({ noServer: true, ...(protocol !== undefined && { handleProtocols: () => protocol }) });
  return new Promise((resolve) => server.handleUpgrade(request, socket, head, (accepted) => resolve(accepted)));
}

const firstScript: Pick<ScriptedApiserver, "review" | "onRequest" | "onUpgrade"> = {
  review: () => true,
  onRequest: (_request, response) => void response.writeHead(200, { "content-type": "application/json" }).end("{}"),
  onUpgrade: (_request, socket) => void socket.destroy(),
};

async function writeKubeconfig(path: string, port: number): Promise<string> {
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
}

async function answer(
  scripted: ScriptedApiserver,
  remember: (request: IncomingMessage) => void,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.url === "/readyz") return void response.end("ok");
  if (request.url?.startsWith("/apis/authorization.k8s.io/v1/subjectaccessreviews") === true) {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer); // a request without an encoding gives Buffers
    const review: { readonly spec: Record<string, unknown> } = JSON.parse(Buffer.concat(parts).toString("utf8"));
    scripted.reviews.push(review.spec);
    const allowed = reviewed(scripted, review.spec);
    if (allowed === undefined) return void response.writeHead(500).end();
    const body = JSON.stringify({ ...review, status: { allowed } });
    return void response.writeHead(201, { "content-type": "application/json" }).end(body);
  }
  remember(request);
  scripted.onRequest(request, response);
}

/** Undefined when the script throws: the authorizer is broken. */
function reviewed(scripted: ScriptedApiserver, spec: Record<string, unknown>): boolean | undefined {
  try {
    return scripted.review(spec);
  } catch {
    return undefined;
  }
}

function seenRequest(request: IncomingMessage): SeenRequest {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2)
    headers.push([request.rawHeaders[index] ?? "", request.rawHeaders[index + 1] ?? ""]);
  return { method: request.method ?? "", target: request.url ?? "", headers };
}
