/** Peers on real TCP connections, with a raw end or a whole WebSocket server at the other. */
import { once } from "node:events";
import { IncomingMessage } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { connect } from "node:net";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { createWebSocketPeer } from "#agent/websocket/peer.ts";
import type { WebSocketPeer } from "#agent/websocket/peer.ts";
import { ManualClock } from "../manual-clock.ts";

const closers: (() => void)[] = [];

/** Closes every connection that was made. */
export function closeAll(): void {
  for (const close of closers.splice(0)) close();
}

interface Pair {
  /** The apiserver's raw end. */
  readonly far: Socket;
  readonly near: Socket;
}

async function socketPair(): Promise<Pair> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect((server.address() as AddressInfo).port, "127.0.0.1"); // a listening TCP server has one
  const [far] = (await once(server, "connection")) as [Socket];
  far.on("error", () => undefined);
  closers.push(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { far, near };
}

interface Heard {
  readonly messages: (readonly [string, string])[];
  readonly closed: Promise<readonly [number, string]>;
  /** Resolves when so many messages have come. */
  readonly count: (wanted: number) => Promise<void>;
  closes: number;
}

export function listenTo(peer: WebSocketPeer): Heard {
  const end = Promise.withResolvers<readonly [number, string]>();
  const waiting: { readonly wanted: number; readonly resolve: () => void }[] = [];
  const heard: Heard = {
    messages: [],
    closed: end.promise,
    closes: 0,
    count: async (wanted) =>
      new Promise((resolve) => {
        if (heard.messages.length >= wanted) resolve();
        else waiting.push({ wanted, resolve });
      }),
  };
  peer.listen({
    onMessage: (data, text) => {
      heard.messages.push([text ? "text" : "binary", Buffer.from(data).toString("latin1")]);
      for (const { wanted, resolve } of waiting) if (heard.messages.length >= wanted) resolve();
    },
    onClose: (code, reason) => {
      heard.closes += 1;
      end.resolve([code, reason]);
    },
  });
  return heard;
}

interface MakePeer {
  readonly head?: Uint8Array;
  readonly mask?: "random" | "zero";
}

export async function rawPeer({ head = new Uint8Array(0), mask = "random" }: MakePeer = {}): Promise<
  Pair & { readonly peer: WebSocketPeer; readonly clock: ManualClock }
> {
  const pair = await socketPair();
  const clock = new ManualClock();
  return { ...pair, clock, peer: createWebSocketPeer({ socket: pair.near, head, protocol: undefined, clock, mask }) };
}

/** A peer whose other end is a real WebSocket server of `ws`. */
export async function livePeer(
  mask: "random" | "zero" = "random",
): Promise<{ readonly peer: WebSocketPeer; readonly far: WebSocket; readonly near: Socket; readonly clock: ManualClock }> {
  const { near, far } = await socketPair();
  const server = new WebSocketServer({ noServer: true });
  const request = new IncomingMessage(far);
  request.method = "GET";
  request.headers = {
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  const opened = new Promise<WebSocket>((resolve) => {
    server.handleUpgrade(request, far, Buffer.alloc(0), resolve);
  });
  const [answer] = (await once(near, "data")) as [Buffer];
  near.pause();
  near.removeAllListeners("data");
  const head = answer.subarray(answer.indexOf("\r\n\r\n") + 4);
  const clock = new ManualClock();
  return { peer: createWebSocketPeer({ socket: near, head, protocol: undefined, clock, mask }), far: await opened, near, clock };
}

/** A server's frame: unmasked, of at most 125 bytes. */
export function frame(opcode: number, payload = "", final = true): Buffer {
  return Buffer.concat([Buffer.from([(final ? 0x80 : 0) | opcode, payload.length]), Buffer.from(payload, "latin1")]);
}

export function closePayload(code: number, reason = ""): string {
  return String.fromCharCode(code >> 8, code & 0xff) + reason;
}
