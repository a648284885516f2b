/** The connections from the proxy to the apiserver: kept open between requests, dialled anew when the TLS material changes, through a proxy where one is named. */
import http from "node:http";
import https from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import { SocksClient } from "socks";
import { WebSocket } from "ws";
import { usageError } from "#cli/output/failure.ts";
import type { Environment } from "#cli/session/paths.ts";
import type { ClientTls } from "./credentials.ts";
import { dialTimeoutMs, idleConnectionMs, maxCarriedMessageBytes, maxHeadBytes } from "./limits.ts";

export interface UpstreamOptions {
  readonly server: URL;
  /** The kubeconfig's proxy-url. */
  readonly proxy: URL | undefined;
  readonly environment: Environment;
}

/** A request to the apiserver, as lines: nothing is added to them. */
export interface UpstreamCall {
  readonly method: string;
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly tls: ClientTls;
  /** On a connection of its own, for an upgrade. */
  readonly isUpgrade: boolean;
}

interface Agents {
  readonly tls: ClientTls;
  readonly kept: http.Agent;
  readonly fresh: http.Agent;
}

/** The way to one apiserver. */
export class Upstream {
  readonly #options: UpstreamOptions;
  #agents: Agents | undefined;

  /** Throws USAGE where this Node cannot go through the kubeconfig's proxy: going around it would be no answer. */
  constructor(options: UpstreamOptions) {
    this.#options = options;
    const isHttpProxy = options.proxy !== undefined && options.proxy.protocol !== "socks5:";
    if (isHttpProxy && typeof http.setGlobalProxyFromEnv !== "function")
      throw usageError("This Node cannot use the kubeconfig's proxy-url", "Use Node 24.14 or later.");
  }

  /** The Host header's value. */
  get host(): string {
    return this.#options.server.host;
  }

  /** Makes connections of their own, for upgrades that another library speaks. */
  agent(tls: ClientTls): http.Agent {
    return this.#agentsFor(tls).fresh;
  }

  /** Starts a request; the caller writes its body and ends it. */
  send({ method, target, headers, tls, isUpgrade }: UpstreamCall): http.ClientRequest {
    const { server } = this.#options;
    const agents = this.#agentsFor(tls);
    const isSecure = server.protocol === "https:";
    const request = (isSecure ? https : http).request({
      agent: isUpgrade ? agents.fresh : agents.kept,
      host: server.hostname.replaceAll(/[[\]]/g, ""),
      port: server.port === "" ? (isSecure ? 443 : 80) : server.port,
      method,
      path: target,
      headers,
      setHost: false,
    });
    limitDial(request, isSecure, `${server.hostname}:${server.port || (isSecure ? "443" : "80")}`);
    return request;
  }

  /** Opens a WebSocket with one sub-protocol; its handshake's own headers are not among the lines. */
  openWebSocket({ target, headers, tls }: Omit<UpstreamCall, "method" | "isUpgrade">, protocol: string): WebSocket {
    const { server } = this.#options;
    const isSecure = server.protocol === "https:";
    return new WebSocket(`${isSecure ? "wss" : "ws"}://${server.host}/`, [protocol], {
      agent: this.#agentsFor(tls).fresh,
      headers: linesByName(headers),
      perMessageDeflate: false,
      maxPayload: maxCarriedMessageBytes,
      maxHeaderSize: maxHeadBytes,
      finishRequest: (request) => {
        request.path = target; // byte for byte, which no URL parser would leave it
        limitDial(request, isSecure, `${server.hostname}:${server.port || (isSecure ? "443" : "80")}`);
        request.end();
      },
    });
  }

  close(): void {
    this.#agents?.kept.destroy();
  }

  #agentsFor(tls: ClientTls): Agents {
    if (this.#agents?.tls === tls) return this.#agents;
    const common = {
      keepAlive: true,
      scheduling: "lifo",
      // It ends idle connections; one in use has no listener for it.
      timeout: idleConnectionMs,
    } as const;
    const kept = this.#createAgent(tls, common);
    this.#agents = { tls, kept, fresh: this.#createAgent(tls, { keepAlive: false }) };
    return this.#agents;
  }

  #createAgent(tls: ClientTls, options: http.AgentOptions): http.Agent {
    const { server, proxy, environment } = this.#options;
    const isSecure = server.protocol === "https:";
    const secure = isSecure ? { ...options, ...tlsOptions(tls) } : options;
    const isSocks = proxy?.protocol === "socks5:";
    const proxyEnv = proxy === undefined ? environment : { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
    const all = isSocks ? secure : { ...secure, proxyEnv };
    const agent = isSecure ? new https.Agent(all) : new http.Agent(all);
    if (isSocks) dialThroughSocks(agent, proxy, isSecure ? tlsOptions(tls) : undefined);
    return agent;
  }
}

/** Lines as Node's setters want them: the values of a repeated name together. */
function linesByName(flat: readonly string[]): Readonly<Record<string, string[]>> {
  const lines: Record<string, string[]> = {};
  for (let index = 0; index + 1 < flat.length; index += 2) (lines[(flat[index] ?? "").toLowerCase()] ??= []).push(flat[index + 1] ?? "");
  return lines;
}

function tlsOptions(tls: ClientTls): https.AgentOptions {
  return {
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: !tls.insecure,
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
  };
}

/** Replaces how an agent dials. The apiserver's name is resolved by the proxy, which may know names that this machine does not. */
function dialThroughSocks(agent: http.Agent, proxy: URL, tls: https.AgentOptions | undefined): void {
  agent.createConnection = (options, callback) => {
    const destination = { host: options.host ?? "", port: Number(options.port) };
    const login = proxy.username === "" ? {} : { userId: decodeURIComponent(proxy.username), password: decodeURIComponent(proxy.password) };
    const server = { host: proxy.hostname.replaceAll(/[[\]]/g, ""), port: Number(proxy.port || 1080), type: 5 as const, ...login };
    const made = SocksClient.createConnection({ proxy: server, command: "connect", destination, timeout: dialTimeoutMs });
    const name = isIP(destination.host) === 0 ? { servername: destination.host } : {};
    const wrap = (socket: Duplex): Duplex => (tls === undefined ? socket : tlsConnect({ ...name, ...tls, host: destination.host, socket }));
    made.then(
      ({ socket }) => callback?.(null, wrap(socket)),
      // Node's types want a socket beside the error.
      (error: unknown) => callback?.(error instanceof Error ? error : new Error(String(error)), undefined as unknown as Duplex),
    );
    return undefined;
  };
}

function limitDial(request: http.ClientRequest, isSecure: boolean, address: string): void {
  const timer = setTimeout(() => request.destroy(new Error(`dial tcp ${address}: i/o timeout`)), dialTimeoutMs);
  const stop = (): void => clearTimeout(timer);
  request.on("socket", (socket) => {
    if (request.reusedSocket || (!socket.connecting && !isSecure)) stop();
    else socket.once(isSecure ? "secureConnect" : "connect", stop);
  });
  request.on("response", stop);
  request.on("upgrade", stop);
  request.on("close", stop);
}

/** What failed on the way to the apiserver, in the words of Go's net package, which scripts and people know. */
export function upstreamErrorText(error: Error): string {
  if (!("code" in error)) return error.message;
  const place = "address" in error && "port" in error ? `${String(error.address)}:${String(error.port)}` : "";
  if (error.code === "ECONNREFUSED" && place !== "") return `dial tcp ${place}: connect: connection refused`;
  if (error.code === "ECONNRESET") return "read: connection reset by peer";
  return error.message;
}
