/** An agent's side of one lane, with every byte in the test's hands. */
import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { heartbeatRequest, offeredProtocols } from "#core/tunnel/handshake.ts";
import { heartbeatMs } from "#core/tunnel/limits.ts";
import { encodePayload, joinStatement, parseEdgeHello } from "#core/tunnel/payload.ts";
import { agentSubject } from "./system.ts";
import type { ClusterFixture, GatewayFixture } from "./system.ts";

export interface AgentKey {
  readonly privateKey: KeyObject;
  /** `x` of its Ed25519 JWK. */
  readonly publicX: string;
}

export function createAgentKey(): AgentKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { privateKey, publicX: String(publicKey.export({ format: "jwk" })["x"]) };
}

/** A projected ServiceAccount token as the cluster's agent has it, with claims of choice. */
export async function joinToken(
  cluster: ClusterFixture,
  claims: Readonly<Record<string, unknown>> = {},
  lifetimeSeconds = 3600,
): Promise<string> {
  const standard = { sub: agentSubject, aud: "sallyport", "kubernetes.io": { pod: { uid: "pod-1" } } };
  return cluster.join.token({ ...standard, ...claims }, lifetimeSeconds);
}

export interface LaneOptions {
  readonly token: string;
  readonly cluster?: string;
  readonly protocols?: readonly string[];
}

export interface HelloOptions {
  readonly key: AgentKey;
  readonly cluster?: string;
  readonly replica?: string;
  readonly lane?: "interactive" | "bulk";
  /** The nonce that is signed, when it is not this connection's. */
  readonly nonce?: string;
  readonly signature?: string;
}

export class ScriptedLane {
  readonly socket: WebSocket;
  readonly frames: Frame[] = [];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data: Buffer, isBinary) => {
      const decoded = isBinary ? decodeFrames(data) : undefined;
      if (decoded?.type === "frames") this.frames.push(...decoded.frames);
      socket.emit("frames");
    });
    this.closed = once(socket, "close").then(([code, reason]) => ({ code, reason: String(reason) }));
    socket.on("error", () => undefined); // told by the close
    const beat = setInterval(() => {
      if (socket.readyState === WebSocket.OPEN) socket.send(heartbeatRequest);
    }, heartbeatMs);
    socket.on("close", () => clearInterval(beat));
  }

  /** The first frame that fits, whether it has come or not. */
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

  /** Waits until what came so far is enough. */
  async until(isEnough: () => boolean): Promise<void> {
    while (!isEnough()) await once(this.socket, "frames");
  }

  async nonce(): Promise<string> {
    const hello = parseEdgeHello((await this.frame("hello")).payload);
    return hello.type === "parsed" ? hello.payload.nonce : "";
  }

  send(...frames: readonly Frame[]): void {
    this.socket.send(encodeFrames(frames));
  }

  /** The HELLO that proves who this is; returned so that it can be replayed. */
  async hello(options: HelloOptions): Promise<Uint8Array> {
    const claims = { cluster: options.cluster ?? "one", replica: options.replica ?? "pod-1", lane: options.lane ?? "interactive" };
    const statement = joinStatement(claims, options.nonce ?? (await this.nonce()));
    const signature = options.signature ?? sign(null, statement, options.key.privateKey).toString("base64url");
    return encodeFrames([
      {
        type: "hello",
        payload: encodePayload({ ...claims, version: 1, build: "scripted", node: "n", key: options.key.publicX, signature }),
      },
    ]);
  }

  /** Joins and waits until the hub says so, or closes. */
  async join(options: HelloOptions): Promise<"joined" | { readonly code: number; readonly reason: string }> {
    this.socket.send(await this.hello(options));
    return Promise.race([this.frame("status").then(() => "joined" as const), this.closed]);
  }
}

/** Opens a lane; what the gateway answered when it did not let it. */
export async function openLane(
  gateway: GatewayFixture,
  options: LaneOptions,
): Promise<ScriptedLane | { readonly status: number; readonly body: string }> {
  const socket = new WebSocket(
    `${gateway.url.replace("https:", "wss:")}/tunnel/${options.cluster ?? "one"}`,
    [...(options.protocols ?? offeredProtocols())],
    {
      ca: gateway.authority.certificate,
      perMessageDeflate: false,
      headers: options.token === "" ? {} : { authorization: `Bearer ${options.token}` },
    },
  );
  const lane = new ScriptedLane(socket);
  const refused = new Promise<{ status: number; body: string }>((resolve) => {
    socket.on("unexpected-response", (_request, response: IncomingMessage) => {
      let body = "";
      response.on("data", (part: Buffer) => (body += part.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
  });
  return Promise.race([once(socket, "open").then(() => lane), refused]);
}

/** A lane that must open. */
export async function mustOpenLane(gateway: GatewayFixture, options: LaneOptions): Promise<ScriptedLane> {
  const lane = await openLane(gateway, options);
  if (lane instanceof ScriptedLane) return lane;
  throw new Error(`the gateway answered the lane with ${lane.status}: ${lane.body}`);
}
