/** Every bound of the userspace dataplane, each with its reason. */

/** What one dataplane holds at most. */
export interface UserspaceLimits {
  /** TCP connections of one frontend. */
  readonly connectionsPerFrontend: number;
  /** UDP flows of one frontend. */
  readonly flowsPerFrontend: number;
  /** Datagrams of one flow that wait for its socket. */
  readonly queuedDatagrams: number;
  /** Bytes that wait in one UDP socket to be sent. */
  readonly sendQueueBytes: number;
  /** Clients that one Service port remembers for session affinity. */
  readonly affinityClients: number;
}

export const userspaceLimits: UserspaceLimits = {
  // A quarter of all: one Service that is flooded, or that never ends its connections, leaves room for the others.
  connectionsPerFrontend: 4_096,
  // A flow is a file descriptor. Questions that are over (DNS) make room first, so that this bounds flows that go on.
  flowsPerFrontend: 4_096,
  // The socket is ready within one turn of the event loop; a client that sends more than this by then sends blindly.
  queuedDatagrams: 16,
  // The kernel's own buffer holds some 200 KB (net.core.wmem_default); behind it nothing should pile up: UDP may lose, not delay.
  sendQueueBytes: 256 << 10,
  // 64 Ki clients are some 10 MB; the one that was silent longest is forgotten first.
  affinityClients: 65_536,
};

/** TCP connections of all frontends and both families: two file descriptors each, and up to some 100 KB of buffers while bytes flow. */
export const maxConnections = 16_384;

/** UDP flows of all frontends and both families: one file descriptor each. */
export const maxFlows = 16_384;

/** Time for one endpoint to answer a dial: two lost SYNs (1 s and 2 s later) still get through. */
export const dialTimeoutMs = 3_500;

/** Time after which no further endpoint is tried for a connection: clients that wait for a connection give up in about this time. */
export const failoverMs = 15_000;

/** What one read from an endpoint takes at most, and the memory that a connection keeps for it. Larger reads were hardly faster. */
export const readBufferBytes = 64 << 10;

/** TCP keep-alive starts after this silence on both sides; there is no other limit to idle connections, as with kube-proxy. */
export const tcpKeepAliveMs = 15_000;

/** Connections that the kernel keeps until they are accepted: Node's default, capped by net.core.somaxconn. */
export const listenBacklog = 511;

/** A UDP flow without an answer, or that is over after a question and its answer: nf_conntrack_udp_timeout. */
export const udpOneWayMs = 30_000;

/** A UDP flow that goes on in both directions: nf_conntrack_udp_timeout_stream, as kube-proxy's users know it (180 s before Linux 5.8). */
export const udpStreamMs = 180_000;

/** How long both sides must have talked until it is a flow that goes on: the kernel's own rule (nf_conntrack_proto_udp.c, 2 s). */
export const udpStreamAfterMs = 2_000;

/** Time between attempts to listen where it failed: an address that moves to this machine, or a port that its program left, is taken soon. */
export const bindRetryMs = 30_000;

/** Sockets that are opened at once while a table is applied; more only makes the event loop wait. */
export const parallelBinds = 64;
