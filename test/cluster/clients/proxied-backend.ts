/**
 * An application to reach through the apiserver's proxy: it runs in a pod, from a ConfigMap. Each port says which one it is; the main one
 * has what a proxy may stumble over: links, redirects, encodings, cookies, and a WebSocket that repeats what it hears.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { deflateRawSync, gzipSync } from "node:zlib";

const tls = { cert: readFileSync("/srv/tls.crt"), key: readFileSync("/srv/tls.key") };

const page = (
  here: string,
): string => `<!DOCTYPE html><html><head><link href="/style.css"><script src="http://${here}/app.js"></script></head>
<body background='/back.png'><a href="relative.log">r</a><A HREF="/UP/">u</A><a href="http://elsewhere.example/x">e</a>
<img src="/picture.png" srcset="/other.png 2x"><form action=/send method=post></form><p>${"text ".repeat(12_000)}</p></body></html>`;

const main: RequestListener = (request, response) => {
  const url = new URL(request.url ?? "/", "http://backend");
  const here = `${request.socket.localAddress?.replace("::ffff:", "")}:${request.socket.localPort}`;
  switch (url.pathname) {
    case "/page":
      return answerPage(response, url, here);
    case "/text":
      return void response.writeHead(200, { "content-type": "text/plain" }).end('<a href="/x">');
    case "/redirect":
      return void response.writeHead(302, { location: (url.searchParams.get("to") ?? "").replace("BACKEND", here) }).end();
    case "/cookie":
      response.setHeader("set-cookie", ["a=1; Path=/; HttpOnly", "b=2"]);
      response.setHeader("access-control-expose-headers", "X-A");
      response.setHeader("access-control-allow-origin", "*");
      return void response.end("cookies");
    case "/status":
      return void response.writeHead(Number(url.searchParams.get("code"))).end();
    default:
      return void echo(request, response);
  }
};

function answerPage(response: ServerResponse, url: URL, here: string): void {
  const text = page(here);
  const encoding = url.searchParams.get("encoding");
  response.setHeader("content-type", "text/html; charset=utf-8");
  if (encoding !== null) response.setHeader("content-encoding", encoding);
  response.end(encoding === "gzip" ? gzipSync(text) : encoding === "deflate" ? deflateRawSync(text) : text);
}

/** Says what has arrived, without what differs between two requests anyway. */
async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer); // a request without an encoding gives Buffers
  const { method, url, headers } = request;
  const said = JSON.stringify({ method, url, headers, body: Buffer.concat(chunks).toString("utf8") });
  response.writeHead(200, { "content-type": "application/json" }).end(said);
}

const say =
  (text: string): RequestListener =>
  (_request, response) =>
    void response.writeHead(200, { "content-type": "text/plain" }).end(text);

const app = createServer(main).listen(8080);
createServer(say("foo")).listen(8160);
createServer(say("bar")).listen(8162);
createTlsServer(tls, main).listen(8443);
createTlsServer(tls, say("tls baz")).listen(8460);

/** RFC 6455: the answer to an upgrade, and then each short frame of the client back, without its mask. */
app.on("upgrade", (request, socket) => {
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("error", () => socket.destroy());
  socket.on("data", (frame: Buffer) => {
    const length = (frame[1] ?? 0) & 0x7f;
    const mask = frame.subarray(2, 6);
    const payload = frame.subarray(6, 6 + length).map((byte, index) => byte ^ (mask[index % 4] ?? 0));
    socket.write(Buffer.concat([Buffer.from([frame[0] ?? 0, length]), payload]));
  });
});
