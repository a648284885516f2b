/** The gateway's side of an agent's lanes, with every byte in the test's hands: TLS, the upgrade and the frames. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { chooseProtocol, heartbeatRequest, heartbeatResponse } from "#core/tunnel/handshake.ts";
import { encodePayload, parseAgentHello } from "#core/tunnel/payload.ts";
import type { AgentHello, OpenPayload } from "#core/tunnel/payload.ts";
import type { Authority } from "#cli/workerd/certificates.ts";

/** One lane as the hub sees it. */
export class HubLane {
  readonly socket: WebSocket;
  readonly frames: Frame[] = [];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;

  constructor(socket: WebSocket) {
    this.socket = socket;
    // A test may wait for many frames at once.
    socket.setMaxListeners(0);
    socket.on("message", (data: Buffer, isBinary) => {
      if (!isBinary && data.toString() === heartbeatRequest) socket.send(heartbeatResponse);
      const decoded = isBinary ? decodeFrames(data) : undefined;
      if (decoded?.type === "frames") this.#take(decoded.frames);
      socket.emit("frames");
    });
    socket.on("error", () => undefined); // told by the close
    this.closed = once(socket, "close").then(([code, reason]) => ({ code, reason: String(reason) }));
  }

  send(...frames: readonly Frame[]): void {
    this.socket.send(encodeFrames(frames));
  }

  /** An agent waits for the answer to its PING before it goes on. */
  #take(frames: readonly Frame[]): void {
    this.frames.push(...frames);
    for (const frame of frames) if (frame.type === "ping") this.send({ type: "pong", payload: frame.payload });
  }

  async frame<Type extends Frame["type"]>(
    type: Type,
    fits: (frame: Frame) => boolean = () => true,
  ): Promise<Extract<Frame, { type: Type }>> {
    for (;;) {
      const found = this.frames.find((frame): frame is Extract<Frame, { type: Type }> => frame.type === type && fits(frame));
      if (found !== undefined) return found;
      await once(this.socket, "frames");
    }
  }

  /** Lets the agent in. */
  async welcome(): Promise<AgentHello | undefined> {
    this.send({ type: "hello", payload: encodePayload({ version: 1, build: "scripted", nonce: "nonce" }) });
    const hello = parseAgentHello((await this.frame("hello")).payload);
    this.send({ type: "status", payload: encodePayload({ joined: true }) });
    return hello.type === "parsed" ? hello.payload : undefined;
  }
}

export interface ScriptedHub {
  readonly url: string;
  /** The upgrades that came. */
  readonly upgrades: IncomingMessage[];
  onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  onLane: (lane: HubLane) => void;
  /** The next lane that opens, before anything was said on it. */
  nextLane(): Promise<HubLane>;
  stop(): Promise<void>;
}

export async function startScriptedHub(authority: Authority): Promise<ScriptedHub> {
  const { certificate, key } = await authority.issue(["localhost"]);
  const server = createServer({ cert: certificate, key });
  const webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: 0,
    handleProtocols: (offered) => chooseProtocol([...offered].join(","))?.protocol ?? false,
  });
  const sockets = new Set<Duplex>();
  server.on("secureConnection", (socket) => sockets.add(socket));
  server.on("upgrade", (request, socket, head) => {
    hub.upgrades.push(request);
    hub.onUpgrade(request, socket, head);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const hub: ScriptedHub = {
    url: `https://localhost:${(server.address() as AddressInfo).port}`, // a TCP server's address is never text
    upgrades: [],
    onUpgrade: (request, socket, head) => webSockets.handleUpgrade(request, socket, head, (opened) => hub.onLane(new HubLane(opened))),
    onLane: (lane) => void lane.welcome(),
    nextLane: () =>
      new Promise((resolve) => {
        const before = hub.onLane;
        hub.onLane = (lane) => {
          hub.onLane = before;
          resolve(lane);
        };
      }),
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return hub;
}

/** An OPEN as a gateway sends it for `GET /api/v1/namespaces/a/pods/p` of cluster one, with what is wanted otherwise. */
export function openPayload(token: string, different: Partial<Record<keyof OpenPayload, unknown>> = {}): Uint8Array {
  return encodePayload({
    ...{ kind: "http", class: "normal", cluster: "one", method: "GET", target: "/api/v1/namespaces/a/pods/p", headers: [], token },
    ...{ clientAddress: "", auditId: "0b6f3a1c-0000-4000-8000-000000000000", hasBody: false, receiveBonus: 0 },
    ...different,
  });
}
