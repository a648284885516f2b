/** `web:1`: a small web server: a page at /, its environment at /env, a WebSocket echo at /ws, server-sent events at /events, /healthz. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { Host } from "./host.ts";

/** Serves on each container port until it is told to stop. */
export async function web(host: Host): Promise<number> {
  const ports = host.start.ports.length === 0 ? [8080] : host.start.ports;
  const servers = await Promise.all(ports.map((port) => listen(host, port)));
  process.stdout.write(`web: serving on port ${ports.join(", ")}\n`);
  return new Promise((resolve) => {
    process.once("SIGTERM", () => {
      process.stdout.write("web: asked to stop\n");
      for (const server of servers) server.close();
      resolve(0);
    });
  });
}

async function listen(host: Host, containerPort: number): Promise<Server> {
  const server = createServer((request, response) => serve(host, request, response));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => echo(request, socket, head));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address() as AddressInfo; // a listening TCP server has one
  host.listening(containerPort, address.port);
  return server;
}

function serve(host: Host, request: IncomingMessage, response: ServerResponse): void {
  const [path = "/"] = (request.url ?? "/").split("?");
  const name = (request.headers["user-agent"] ?? "-").replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 80);
  process.stdout.write(`${request.method} ${path} "${name}"\n`);
  switch (path) {
    case "/":
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
      return void response.end(page(host));
    case "/healthz":
      return void response.end("ok\n");
    case "/env":
      response.writeHead(200, { "Content-Type": "application/json" });
      return void response.end(`${JSON.stringify(host.start.env)}\n`);
    case "/events":
      return events(response);
    default:
      response.writeHead(404, { "Content-Type": "text/plain" });
      return void response.end(`no page ${path}\n`);
  }
}

function page(host: Host): string {
  const name = host.start.hostname.replaceAll(/[^-.A-Za-z0-9]/g, "");
  return `<!doctype html>
<meta charset="utf-8"><title>${name}</title>
<h1>Hello from ${name}</h1>
<p>A pod of Sallyport's sandbox. WebSocket echo: <code>/ws</code>. Events: <code>/events</code>.</p>
<pre id="out"></pre>
<script>
  const out = document.getElementById("out");
  new EventSource("events").onmessage = (event) => (out.textContent = event.data);
</script>
`;
}

function events(response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  let count = 0;
  const send = (): void => {
    count += 1;
    response.write(`id: ${count}\ndata: event ${count}\n\n`);
  };
  send();
  const timer = setInterval(send, 1000);
  response.once("close", () => clearInterval(timer));
}

/** Messages of up to this size are echoed; the connection of a longer one is closed (1009). */
const maxMessageBytes = 65_535;

/** A WebSocket server (RFC 6455) for single-frame messages, which is all that a demonstration sends. */
function echo(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const key = request.headers["sec-websocket-key"];
  if (request.url?.split("?")[0] !== "/ws" || key === undefined)
    return void socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let buffered = head;
  const take = (chunk: Buffer): void => {
    buffered = Buffer.concat([buffered, chunk]);
    for (let frame = readFrame(buffered); frame !== undefined; frame = readFrame(buffered)) {
      buffered = buffered.subarray(frame.size);
      answerFrame(socket, frame);
    }
  };
  socket.on("data", take);
  socket.on("error", () => socket.destroy());
  take(Buffer.alloc(0));
}

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly size: number;
}

const closeFrame = 8;
const pingFrame = 9;

function readFrame(bytes: Buffer): Frame | undefined {
  if (bytes.length < 2) return undefined;
  const opcode = bytes.readUInt8(0) & 15;
  const short = bytes.readUInt8(1) & 127;
  if (short === 127) return { opcode: closeFrame, payload: Buffer.from([0x03, 0xf1]), size: bytes.length }; // 1009
  const start = short === 126 ? 4 : 2;
  if (bytes.length < start + 4) return undefined;
  const length = Math.min(short === 126 ? bytes.readUInt16BE(2) : short, maxMessageBytes);
  const size = start + 4 + length;
  if (bytes.length < size) return undefined;
  const mask = bytes.subarray(start, start + 4);
  const payload = Buffer.from(bytes.subarray(start + 4, size).map((byte, index) => byte ^ (mask[index % 4] ?? 0)));
  return { opcode, payload, size };
}

function answerFrame(socket: Duplex, { opcode, payload }: Frame): void {
  const answer = opcode === pingFrame ? 10 : opcode;
  const size = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  socket.write(Buffer.concat([Buffer.from([0x80 | answer, ...size]), payload]));
  if (opcode === closeFrame) socket.end();
}
