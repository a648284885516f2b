/**
 * The way from the agent to the cluster's apiservers, as the rest of the agent sees it.
 *
 * A cluster has one or several apiservers. This folder keeps connections to all of them, asks each whether it is ready, and sends
 * every request to one that can answer it. What must stay true:
 *
 * - A request that was written may have taken effect. Only GET and HEAD are ever sent twice, and only while no byte of an
 *   answer has come; everything else that gets lost is told to the client, without Retry-After, so that client-go does not repeat it.
 * - Bytes pass unchanged: the target as it came, every header line of its own, the body undecoded. Redirects are answers, not orders.
 * - An answer that breaks HTTP's framing is never passed on, and its connection is never used again.
 * - Identity is not made here. The headers come complete; this folder adds only what belongs to the connection.
 *
 * HTTP/1.1 is spoken, not HTTP/2: Node's parser for it costs half as much for each request, one slow reader cannot stall another
 * through a shared window, and an abort is a closed socket. The price is a connection for each open watch.
 */
import type { Duplex, Readable } from "node:stream";
import type { HeaderPairs } from "#core/kube/headers.ts";

/** A request on its way to an apiserver. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query, forwarded byte for byte. */
  readonly target: string;
  /** Complete, identity and Authorization included; what belongs to a connection (Host, Connection, Transfer-Encoding…) is replaced. */
  readonly headers: HeaderPairs;
  readonly body: Uint8Array | Readable | undefined;
  /** A watch, a followed log or another answer that may take hours: no timeout ends it. */
  readonly longRunning: boolean;
  /** Requests with the same text go to the same apiserver while it lasts, so that a user reads what they wrote. */
  readonly affinity: string;
  readonly signal: AbortSignal;
  /** For `upgrade`: the protocol to switch to, such as `SPDY/3.1`; a WebSocket without. */
  readonly protocol?: string | undefined;
}

/** An apiserver's answer; hop-by-hop headers are removed. */
export interface UpstreamResponse {
  readonly status: number;
  readonly headers: HeaderPairs;
  /** Stops reading from the apiserver while it is not read; destroying it ends the request. */
  readonly body: Readable;
}

/** What became of a request to upgrade: the raw connection, or an answer of 400 and above to pass on. */
export type UpgradeOutcome =
  | {
      readonly type: "switched";
      readonly headers: HeaderPairs;
      /** The chosen sub-protocol of a WebSocket, or stream protocol of another upgrade; one of the offered. */
      readonly protocol: string | undefined;
      readonly socket: Duplex;
      /** Bytes that came right behind the 101. */
      readonly head: Uint8Array;
    }
  | { readonly type: "answered"; readonly response: UpstreamResponse };

/** Where an apiserver is. */
export interface ApiserverAddress {
  /** `https://host:port`; http only for a sandbox on the same machine. */
  readonly url: string;
  /** PEM of the authorities to trust; undefined takes the credentials' own. */
  readonly ca: string | undefined;
  /** The name to verify in the certificate, where it is not the URL's host. */
  readonly serverName: string | undefined;
  /** Used only when no other can be reached: a Service or load balancer address in front of the same servers. */
  readonly lastResort?: boolean;
}

/** The agent's own side of TLS to every apiserver. The same object comes back until something in it changes. */
export interface ClientTls {
  /** PEM of the authorities to trust; undefined trusts the system's. */
  readonly ca: string | undefined;
  /** PEM of the client certificate and key, where that is the agent's identity. */
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
  /** The kubeconfig says insecure-skip-tls-verify. */
  readonly insecure: boolean;
}

/** One apiserver as `sallyport status` shows it. */
export interface ApiserverState {
  readonly url: string;
  readonly health: "unproven" | "ready" | "notReady" | "ejected";
  readonly inFlight: number;
  readonly watches: number;
  readonly connections: number;
  /** Milliseconds since the epoch when it last gave any answer; undefined when it never did. */
  readonly lastAnswerMs: number | undefined;
  /** Why it is not used, or what failed last; no header value or body. */
  readonly lastFailure: string | undefined;
}

/** The pool as `sallyport status` shows it. */
export interface PoolState {
  readonly servers: readonly ApiserverState[];
  /** True when at least one apiserver is ready. */
  readonly ready: boolean;
}

/** A pool of the apiservers of one cluster. */
export interface ApiserverPool {
  /** Sends a request; rejects with a GatewayError UPSTREAM_* or REQUEST_INVALID, or with the signal's reason once it is aborted. */
  request(request: UpstreamRequest): Promise<UpstreamResponse>;
  /** Asks for an upgrade; never repeated once the request was written. Rejects like `request`. */
  upgrade(request: UpstreamRequest): Promise<UpgradeOutcome>;
  /** Replaces the addresses; servers that stay keep their connections and health, those that go finish what they have. */
  setServers(servers: readonly ApiserverAddress[]): void;
  state(): PoolState;
  /** Begins probing. */
  start(): void;
  /** Ends everything that is open. */
  close(): Promise<void>;
}
