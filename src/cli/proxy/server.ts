/**
 * `sallyport proxy`: an HTTP server on this machine that speaks to one cluster with its user's credential, as `kubectl proxy` does.
 *
 * Whoever may connect to it acts as its user, so what must stay true is: a request that the filter has not seen never leaves; what it has
 * seen leaves byte for byte; and who it runs as is decided here, by nobody else.
 */
import { createServer, ServerResponse } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { headerValues } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { isIdleSpdyUpgrade, rawProtocol } from "#core/kube/raw-upgrade.ts";
import { isUpgradeSubresource } from "#core/kube/request-class.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import { answerRedirect, answerText } from "./answer.ts";
import { carry } from "./carry.ts";
import type { CredentialSource } from "./credentials.ts";
import { serveFile } from "./files.ts";
import { forward, framingHeaders, toPairs } from "./forward.ts";
import { maxHeadBytes, requestHeadTimeoutMs } from "./limits.ts";
import { carriedHeaders, identityHeader, writeProxyHeaders } from "./request-headers.ts";
import { routeRequest } from "./route.ts";
import type { Route, RouteOptions } from "./route.ts";
import { hasBody, upgrade } from "./upgrade.ts";
import type { Upstream, UpstreamCall } from "./upstream.ts";

export interface ProxyServerOptions {
  readonly routes: RouteOptions;
  /** The directory of --www. */
  readonly files: string | undefined;
  readonly upstream: Upstream;
  readonly credentials: CredentialSource;
  /** Lines that run requests as somebody else. */
  readonly impersonation: HeaderPairs;
  /** Put before every path: the path of the kubeconfig's server with --append-server-path; empty or beginning with `/`. */
  readonly serverPath: string;
  readonly keepAliveMs: number;
  /** Whether the cluster is behind the gateway, which switches to WebSocket only. */
  readonly behindGateway: boolean;
  /** Told why an upgraded connection was lost. */
  readonly onLost: (reason: string) => void;
}

/** Makes the server; it listens when it is told to. */
export function createProxyServer(options: ProxyServerOptions): Server {
  // Bodies may take hours; a head may not.
  const server = createServer({
    maxHeaderSize: maxHeadBytes,
    requestTimeout: 0,
    headersTimeout: requestHeadTimeoutMs,
    keepAliveTimeout: 0,
    shouldUpgradeCallback: (request) => !isIdleUpgrade(request, options.routes), // of Node 24.9 and later
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    response.sendDate = false;
    handle(request, response, options, (target) => sendPlain(target, request, response, options)).catch((thrown: unknown) =>
      fail(response, thrown),
    );
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const response = responseOn(request, socket);
    handle(request, response, options, (target) => sendUpgrade({ target, request, response, socket, head }, options)).catch(
      (thrown: unknown) => fail(response, thrown),
    );
  });
  return server;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  options: ProxyServerOptions,
  send: (target: string) => Promise<void>,
): Promise<void> {
  const { method = "", url = "" } = request;
  const hosts = headerValues(toPairs(request.rawHeaders), "host");
  // Of two Host lines, the filter and a server behind could believe different ones.
  const route: Route = hosts.length > 1 ? { type: "invalid" } : routeRequest({ method, text: url, host: hosts[0] ?? "" }, options.routes);
  switch (route.type) {
    case "invalid":
      response.shouldKeepAlive = false;
      answerText(response, 400, "400 Bad Request: its target or Host is malformed");
      return;
    case "notFound":
      answerText(response, 404, "404 page not found");
      return;
    case "forbidden":
      answerText(response, 403, "Forbidden");
      return;
    case "redirect":
      answerRedirect(response, route.location);
      return;
    case "file":
      await serveFile(options.files ?? "", route.path, request, response);
      return;
    case "api":
      await send(joinPath(options.serverPath, route.target));
  }
}

async function sendPlain(target: string, request: IncomingMessage, response: ServerResponse, options: ProxyServerOptions): Promise<void> {
  const call = await prepare(target, request, options, false);
  if (typeof call === "string") {
    answerText(response, 403, call);
    return;
  }
  forward({ request, response, send: () => options.upstream.send(call), onStatus: (status) => noteStatus(status, options) });
}

interface UpgradeCall {
  readonly target: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Duplex;
  readonly head: Buffer;
}

async function sendUpgrade({ target, request, response, socket, head }: UpgradeCall, options: ProxyServerOptions): Promise<void> {
  if (hasBody(request)) {
    answerText(response, 400, "400 Bad Request: an upgrade request has no body");
    return;
  }
  const protocol = options.behindGateway ? carriedProtocol(request) : undefined;
  const call = await prepare(target, request, options, protocol === undefined);
  if (typeof call === "string") {
    answerText(response, 403, call);
    return;
  }
  const onStatus = (status: number): void => noteStatus(status, options);
  const { keepAliveMs, onLost } = options;
  if (protocol !== undefined) {
    const headers = carriedHeaders(toPairs(call.headers), { method: call.method, protocol }).flat();
    const webSocket = options.upstream.openWebSocket({ target, headers, tls: call.tls }, rawProtocol);
    const runsCommand = isSpdyCommand(call.method, target.slice(options.serverPath.length), protocol);
    carry({ socket, head, response, protocol, runsCommand, webSocket, keepAliveMs, onStatus, onLost });
    return;
  }
  upgrade({ socket, head, response, sent: options.upstream.send(call), keepAliveMs, onStatus });
}

/** What a request wants to switch to, where that is no WebSocket: a WebSocket passes the gateway as it is. */
function carriedProtocol({ headers }: IncomingMessage): string | undefined {
  const wanted = headers.upgrade?.trim() ?? "";
  return wanted.toLowerCase() === "websocket" ? undefined : wanted;
}

/** Whether an upgrade runs a command or is attached to one, over SPDY. */
function isSpdyCommand(method: string, target: string, protocol: string): boolean {
  const request = parseRequest(method, target);
  if (request.type !== "resource" || !isUpgradeSubresource(request)) return false;
  return request.subresource !== "portforward" && /^spdy\//i.test(protocol);
}

/** Whether Kubernetes would pass over the wish to upgrade: the request is then a plain one. */
function isIdleUpgrade({ method = "", url = "", headers }: IncomingMessage, routes: RouteOptions): boolean {
  const route = routeRequest({ method, text: url, host: headers.host ?? "" }, { ...routes, filter: undefined });
  const request = route.type === "api" ? parseRequest(method, route.target) : undefined;
  return request !== undefined && request.type !== "invalid" && isIdleSpdyUpgrade(request, headers.upgrade?.trim() ?? "");
}

/** The request to the apiserver, or why there is none. */
async function prepare(
  target: string,
  request: IncomingMessage,
  options: ProxyServerOptions,
  isUpgrade: boolean,
): Promise<UpstreamCall | string> {
  const client = toPairs(request.rawHeaders);
  const claim = identityHeader(client);
  if (claim !== undefined)
    return `Forbidden: this proxy says who a request runs as and what it carries; send it without the header ${claim}`;
  const { authorization, tls } = await options.credentials.current();
  const { upstream, impersonation } = options;
  const peer = request.socket.remoteAddress;
  const lines = writeProxyHeaders({ client, host: upstream.host, authorization, impersonation, peer, isUpgrade });
  const framing = isUpgrade && request.headers["content-length"] === undefined ? [] : framingHeaders(request);
  return { method: request.method ?? "GET", target, headers: [...lines, ...framing].flat(), tls, isUpgrade };
}

/** client-go makes its credential anew after a 401, and leaves it to the client to ask again. */
function noteStatus(status: number, { credentials }: ProxyServerOptions): void {
  if (status === 401) credentials.refused();
}

/** A response on the connection of an upgrade request, which Node gives up; it is the connection's last. */
function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  response.sendDate = false;
  response.shouldKeepAlive = false;
  // The socket of an HTTP server's upgrade is a net.Socket (Node's http documentation, "Event: 'upgrade'").
  response.assignSocket(socket as Socket);
  response.on("finish", () => socket.end());
  socket.on("error", () => socket.destroy());
  return response;
}

/** As apimachinery joins them: one slash between. */
function joinPath(base: string, target: string): string {
  return base.endsWith("/") ? base + target.slice(1) : base + target;
}

function fail(response: ServerResponse, thrown: unknown): void {
  answerText(response, 500, thrown instanceof Error ? thrown.message : "an unexpected fault");
}
