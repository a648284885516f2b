/**
 * The upgrade to a WebSocket, or to another protocol such as SPDY, on an apiserver.
 *
 * It is made by hand because WebSocket libraries refuse `SPDY/3.1+portforward.k8s.io`: its `/` is no RFC 6455 token, yet that is how
 * kubectl forwards ports. A failed upgrade that left two connections joined was CVE-2018-1002105, so nothing passes before a 101 that
 * is right in every respect, and whatever else comes ends as an answer or an error, never as an open pipe:
 *
 * - One protocol is asked for; a WebSocket only by GET.
 * - A 101 counts when it switches to that protocol, to a sub-protocol or stream protocol that was offered or none, and, for a WebSocket,
 *   with the right Sec-WebSocket-Accept and no extension.
 * - 4xx and 5xx pass as answers; 2xx and 3xx are errors, and no redirect is followed (CVE-2020-8559).
 * - Once written, an upgrade is never sent again: an exec may have started.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import https from "node:https";
import type { RequestOptions as TlsRequestOptions } from "node:https";
import type { Duplex } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import { headerValues, listValues } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import type { Clock } from "#agent/clock.ts";
import { headerValue, readResponseHead, toPairs, toWireHeaders } from "./headers.ts";
import { dialTimeoutMs, maxInformational, maxResponseHeaderBytes, tcpKeepAliveMs, upgradeTimeoutMs } from "./limits.ts";
import type { ApiserverAddress, ClientTls, UpgradeOutcome, UpstreamRequest } from "./upstream.ts";

export interface UpgradeOptions {
  readonly address: ApiserverAddress;
  readonly tls: ClientTls;
  readonly request: UpstreamRequest;
  readonly clock: Clock;
  /** 16 random bytes. */
  readonly nonce: () => Uint8Array;
}

/** An upgrade that was answered, or one of which nothing was written. */
export type UpgradeAttempt = UpgradeOutcome | { readonly type: "unwritten"; readonly cause: Error };

const websocketGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 section 1.3
const protocolPattern = /^[\x21-\x2b\x2d-\x7e]+$/; // anything visible but a comma: wider than RFC 6455's token, for SPDY/3.1+…
const bearerProtocolPrefix = "base64url.bearer.authorization.k8s.io.";
const webSocket = "websocket";

/** The headers that only the hop to the apiserver may set. */
const handshakeHeaders: ReadonlySet<string> = new Set([
  "content-length",
  "sec-websocket-accept",
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-protocol",
  "sec-websocket-version",
]);

/** Asks one apiserver to switch protocols; rejects with a GatewayError, or with the signal's reason. */
export async function openUpgrade(options: UpgradeOptions): Promise<UpgradeAttempt> {
  const { request, address, tls } = options;
  const protocol = request.protocol ?? webSocket;
  if (protocol === webSocket && request.method !== "GET") throw new GatewayError("REQUEST_INVALID", "a WebSocket is opened with GET");
  const key = Buffer.from(options.nonce()).toString("base64");
  const url = new URL(address.url);
  const handshake = protocol === webSocket ? webSocketHandshake(key, request.headers) : rawHandshake(protocol, request);
  const kept = request.headers.filter(([name]) => !handshakeHeaders.has(name.toLowerCase()));
  const headers = ["Host", url.host, "Connection", "Upgrade", "Upgrade", protocol, ...handshake.lines, ...toWireHeaders(kept)];
  const secure = url.protocol === "https:";
  const base: RequestOptions = {
    host: url.hostname.replaceAll(/[[\]]/g, ""),
    port: url.port === "" ? (secure ? 443 : 80) : url.port,
    method: request.method,
    path: request.target,
    headers,
    agent: false,
    maxHeaderSize: maxResponseHeaderBytes,
  };
  return new Promise((resolve, reject) => {
    const sent = secure ? https.request({ ...base, ...tlsOptions(address, tls) }) : http.request(base);
    new Handshake({
      ...options,
      protocol,
      chosenBy: handshake.chosenBy,
      faultOf: handshake.faultOf,
      secure,
      settle: { resolve, reject },
    }).run(sent);
  });
}

/** What one protocol adds to a request, and wants of a 101. */
interface ProtocolHandshake {
  readonly lines: readonly string[];
  /** The header, in lower case, that names what was chosen of the offered. */
  readonly chosenBy: string;
  readonly faultOf: (headers: HeaderPairs) => string | undefined;
}

function webSocketHandshake(key: string, headers: HeaderPairs): ProtocolHandshake {
  const offered = offeredProtocols(headers);
  const offer = offered.length > 0 ? ["Sec-WebSocket-Protocol", offered.join(", ")] : [];
  const chosenBy = "sec-websocket-protocol";
  return {
    lines: ["Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", key, ...offer],
    chosenBy,
    faultOf: (answer) => {
      if (headerValue(answer, "sec-websocket-accept")?.trim() !== acceptValue(key)) return "its Sec-WebSocket-Accept is wrong";
      if (headerValue(answer, "sec-websocket-extensions") !== undefined) return "it chose an extension that was not offered";
      return isChosen(answer, chosenBy, offered) ? undefined : "it chose a sub-protocol that was not offered";
    },
  };
}

/** An upgrade to SPDY, or to what an application behind a `/proxy` subresource knows. */
function rawHandshake(protocol: string, { method, headers }: UpstreamRequest): ProtocolHandshake {
  if (!/^[\w.+-]+(?:\/[\w.+-]+)?$/.test(protocol)) throw new GatewayError("REQUEST_INVALID", "Upgrade does not name one protocol");
  const chosenBy = "x-stream-protocol-version";
  const offered = listValues(headers, chosenBy);
  return {
    // Without a length, Node would frame a POST's body as chunks, and their end would be the stream's first bytes.
    lines: method === "GET" ? [] : ["Content-Length", "0"],
    chosenBy,
    faultOf: (answer) => (isChosen(answer, chosenBy, offered) ? undefined : "it chose a stream protocol that was not offered"),
  };
}

/** Whether an answer names one of the offered, or none. */
function isChosen(answer: HeaderPairs, name: string, offered: readonly string[]): boolean {
  const chosen = headerValues(answer, name).map((value) => value.trim());
  return chosen.length <= 1 && chosen.every((protocol) => offered.includes(protocol));
}

/** The offered sub-protocols in order; one that carries a bearer token is a credential and ends at the gateway. */
export function offeredProtocols(headers: HeaderPairs): readonly string[] {
  const all = listValues(headers, "sec-websocket-protocol");
  if (!all.every((protocol) => protocolPattern.test(protocol))) {
    throw new GatewayError("REQUEST_INVALID", "Sec-WebSocket-Protocol is not a list of sub-protocols");
  }
  const offered = all.filter((protocol) => !protocol.startsWith(bearerProtocolPrefix));
  if (all.length > 0 && offered.length === 0) {
    throw new GatewayError("REQUEST_INVALID", "Sec-WebSocket-Protocol offers nothing but a bearer token");
  }
  return offered;
}

/** The Sec-WebSocket-Accept value that proves that a key was read (RFC 6455 section 4.2.2). */
export function acceptValue(key: string): string {
  return createHash("sha1")
    .update(key + websocketGuid)
    .digest("base64");
}

interface HandshakeOptions extends UpgradeOptions, Pick<ProtocolHandshake, "chosenBy" | "faultOf"> {
  readonly protocol: string;
  readonly secure: boolean;
  readonly settle: { readonly resolve: (attempt: UpgradeAttempt) => void; readonly reject: (error: Error) => void };
}

/** One handshake: settles once, and leaves no listener, timer or connection behind but the one that it hands over. */
class Handshake {
  readonly #options: HandshakeOptions;
  #state: "dialling" | "written" | "settled" = "dialling";
  #cancelTimer: () => void = () => undefined;
  #informational = 0;
  #sent: ClientRequest | undefined;

  constructor(options: HandshakeOptions) {
    this.#options = options;
  }

  run(sent: ClientRequest): void {
    const { request, clock, secure } = this.#options;
    this.#sent = sent;
    this.#cancelTimer = clock.after(dialTimeoutMs, () => this.#fail(new Error("no connection in time")));
    request.signal.addEventListener("abort", this.#abort);
    sent.on("socket", (socket) => socket.once(secure ? "secureConnect" : "connect", () => this.#connected()));
    sent.on("information", () => this.#inform());
    sent.on("upgrade", (response, socket, head) => this.#upgraded(response, socket, head));
    sent.on("response", (response) => this.#answered(response));
    sent.on("error", (error) => this.#fail(error));
    if (request.signal.aborted) this.#abort();
    else sent.end();
  }

  #abort = (): void => {
    const reason: unknown = this.#options.request.signal.reason;
    this.#reject(reason instanceof Error ? reason : new Error("the request was abandoned"));
  };

  #connected(): void {
    if (this.#state !== "dialling") return;
    this.#state = "written";
    this.#cancelTimer();
    const late = new GatewayError("UPSTREAM_TIMEOUT", "the apiserver did not answer the upgrade in time");
    this.#cancelTimer = this.#options.clock.after(upgradeTimeoutMs, () => this.#reject(late));
  }

  #inform(): void {
    this.#informational += 1;
    if (this.#informational > maxInformational) this.#reject(invalid("too many informational responses"));
  }

  #upgraded(response: IncomingMessage, socket: Duplex, head: Buffer): void {
    const headers = toPairs(response.rawHeaders);
    const fault = this.#state === "settled" ? "it came too late" : this.#faultOf(response.statusCode ?? 0, headers);
    if (fault !== undefined) {
      socket.destroy();
      this.#reject(invalid(fault));
      return;
    }
    this.#settle();
    const { signal } = this.#options.request;
    const stop = (): unknown => socket.destroy();
    signal.addEventListener("abort", stop);
    socket.on("close", () => signal.removeEventListener("abort", stop));
    response.socket.setKeepAlive(true, tcpKeepAliveMs);
    const protocol = headerValue(headers, this.#options.chosenBy)?.trim();
    this.#options.settle.resolve({ type: "switched", headers: readResponseHead(headers).headers, protocol, socket, head });
  }

  /** What is wrong with a 101 (RFC 9110 section 7.8, RFC 6455 section 4.1: the client's checks). */
  #faultOf(status: number, headers: HeaderPairs): string | undefined {
    const { protocol, faultOf } = this.#options;
    const switched = listValues(headers, "upgrade").map((value) => value.toLowerCase());
    if (status !== 101) return `it switched with status ${status}`;
    if (switched.length !== 1 || switched[0] !== protocol.toLowerCase()) return "it switched to another protocol";
    if (!listValues(headers, "connection").some((option) => option.toLowerCase() === "upgrade"))
      return "its 101 does not say Connection: Upgrade";
    return faultOf(headers);
  }

  #answered(response: IncomingMessage): void {
    const status = response.statusCode ?? 0;
    if (this.#state === "settled" || status < 400) {
      this.#reject(invalid(`it answered the upgrade with status ${status}`));
      return;
    }
    this.#settle();
    const { signal } = this.#options.request;
    const stop = (): unknown => response.destroy();
    signal.addEventListener("abort", stop);
    response.on("close", () => {
      signal.removeEventListener("abort", stop);
      this.#sent?.destroy();
    });
    const headers = readResponseHead(toPairs(response.rawHeaders)).headers;
    this.#options.settle.resolve({ type: "answered", response: { status, headers, body: response } });
  }

  #fail(error: Error): void {
    if (this.#state === "dialling") {
      this.#settle();
      this.#sent?.destroy();
      this.#options.settle.resolve({ type: "unwritten", cause: error });
      return;
    }
    const code = "code" in error && typeof error.code === "string" ? error.code : "";
    if (code.startsWith("HPE_")) this.#reject(invalid(`its answer is not valid HTTP (${code})`, error));
    else
      this.#reject(
        new GatewayError("UPSTREAM_LOST", "the apiserver closed the connection before it answered the upgrade", { cause: error }),
      );
  }

  #reject(error: Error): void {
    if (this.#state !== "settled") {
      this.#settle();
      this.#options.settle.reject(error);
    }
    this.#sent?.destroy();
  }

  #settle(): void {
    this.#state = "settled";
    this.#cancelTimer();
    this.#options.request.signal.removeEventListener("abort", this.#abort);
  }
}

function invalid(what: string, cause?: Error): GatewayError {
  return new GatewayError("UPSTREAM_INVALID", `the apiserver's upgrade was refused: ${what}`, { cause });
}

function tlsOptions(address: ApiserverAddress, tls: ClientTls): TlsRequestOptions {
  const ca = address.ca ?? tls.ca;
  const serverName = address.serverName ?? tls.serverName;
  return {
    rejectUnauthorized: !tls.insecure,
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
  };
}
