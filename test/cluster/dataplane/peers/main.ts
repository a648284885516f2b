/** Servers and clients inside a namespace. Each line of input asks for one thing; each line of output answers it. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

/** What to do. Servers answer with their own address; of UDP clients `ask` waits for the answer, and `tell` does not. */
export type PeerRequest = { readonly id: number; readonly address: string; readonly port: number } & (
  | { readonly type: "serve" | "serveTcp" }
  | { readonly type: "ask" | "tell"; readonly client: string }
  /** `from`: undefined leaves the address to the kernel. */
  | { readonly type: "connect"; readonly from: string | undefined }
);

export interface PeerAnswer {
  readonly id: number;
  readonly answer: string;
}

const clients = new Map<string, Socket>();

for await (const line of createInterface({ input: process.stdin })) {
  // The test writes these lines.
  const request = JSON.parse(line) as PeerRequest;
  const answer = await perform(request);
  process.stdout.write(`${JSON.stringify({ id: request.id, answer } satisfies PeerAnswer)}\n`);
}
process.exit(0);

async function perform(request: PeerRequest): Promise<string> {
  switch (request.type) {
    case "serve":
      return serveUdp(request);
    case "serveTcp":
      return serveTcp(request);
    case "ask":
    case "tell":
      return send(request);
    case "connect":
      return connectFrom(request);
  }
}

async function serveUdp({ address, port }: PeerRequest): Promise<string> {
  const socket = createSocket(typeOf(address));
  socket.on("message", (_message, from) => socket.send(address, from.port, from.address));
  socket.bind(port, address);
  await once(socket, "listening");
  return "serving";
}

async function serveTcp({ address, port }: PeerRequest): Promise<string> {
  const server = createServer((socket) => socket.end(address));
  server.listen(port, address);
  await once(server, "listening");
  return "serving";
}

/** A client keeps its socket, and so its port, under its name and family. */
async function send(request: Extract<PeerRequest, { readonly client: string }>): Promise<string> {
  const { client, address, port, type } = request;
  const key = `${client} ${typeOf(address)}`;
  const socket = clients.get(key) ?? createSocket(typeOf(address));
  clients.set(key, socket);
  const heard = type === "ask" ? once(socket, "message") : undefined;
  await new Promise<void>((resolve) => {
    socket.send("question", port, address, () => resolve());
  });
  const [message] = (await heard) ?? [""];
  return String(message);
}

/** What a server said, or the code of the error. */
async function connectFrom({ address, port, from }: Extract<PeerRequest, { readonly type: "connect" }>): Promise<string> {
  const socket = connect({ host: address, port, ...(from === undefined ? {} : { localAddress: from }) });
  return text(socket).catch((error: NodeJS.ErrnoException) => error.code ?? error.message);
}

function typeOf(address: string): "udp4" | "udp6" {
  return address.includes(":") ? "udp6" : "udp4";
}
