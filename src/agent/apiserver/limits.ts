/** Every bound of the apiserver pool, each with its reason. */

/** Time to dial and finish TLS: two lost SYNs (1 s and 2 s later) still get through. */
export const dialTimeoutMs = 3_500;

/** Servers tried for one request: with more the client's own patience would end first. */
export const maxAttempts = 5;

/** Wait for a response's head: the apiserver itself answers or says Timeout within 60 s. */
export const headTimeoutMs = 75_000;

/** Wait for the answer to an upgrade: exec waits for the kubelet, which waits for the container. */
export const upgradeTimeoutMs = 75_000;

/** Silence within a body that is being read and is not a long-running one: nothing healthy pauses that long. */
export const bodyIdleTimeoutMs = 30_000;

/** Header block of a response: Workers carry at most 128 KB. */
export const maxResponseHeaderBytes = 128 << 10;

/** Informational responses before the final one: servers send none or one; more is a flood. */
export const maxInformational = 8;

/** Idle time after which a connection is closed: well below the apiserver's 90 s, so that we rarely write into a closing one. */
export const idleConnectionMs = 45_000;

/** Idle connections kept for each server: enough for a burst of 64 clients with several each; the rest is closed after use. */
export const maxIdleConnections = 256;

/** Requests after which a connection is closed, so that a load balancer behind one address can spread anew (as goaway-chance does). */
export const maxRequestsPerConnection = 2_000;

/** Age after which a connection is closed, for the same reason; both vary by ±20 % so that they do not close together. */
export const maxConnectionAgeMs = 600_000;

/** TCP keep-alive starts after this silence; the kernel then gives up in about 10 s, so that a dead peer is found within 45 s. */
export const tcpKeepAliveMs = 15_000;

/** Body bytes kept so that a request refused by a stopping server can go to another: the apiserver's own body limit. */
export const maxReplayBytes = 3 << 20;

/** All kept bodies together; beyond it requests go without a second chance rather than with more memory. */
export const maxReplayTotalBytes = 48 << 20;

/** Bytes of a 429 that are read to recognise a stopping server; its text has 58. */
export const maxShutdownTextBytes = 1_024;

/** Time between probes: with two failures to fall, a server that stops is out within 4 s. */
export const probeIntervalMs = 1_500;

/** A probe without an answer in this time has failed. */
export const probeTimeoutMs = 1_000;

/** Least time between probes when connections break off, which asks for one at once: a hostile backend can break off as often as it likes. */
export const minProbeGapMs = 100;

/** Failed probes in a row until a server is taken out: one may be chance. */
export const probesToFall = 2;

/** Good probes in a row until it is taken back. */
export const probesToRise = 2;

/** Silence of a server, to probes and to requests, after which requests that still wait for a head are given up. */
export const deadServerMs = 15_000;

/** Failures of requests in a row, within the window, that take a server out without waiting for probes. */
export const passiveFailures = 3;

/** The window of those failures. */
export const passiveWindowMs = 10_000;

/** How long such a server is left alone at first; doubles up to the maximum while it goes on. */
export const ejectionMs = 5_000;

/** The longest such time: a server that came back must not be missed for longer. */
export const maxEjectionMs = 60_000;

/** A server that came back gets its full share after this time: its watch caches are cold and all its watches return at once. */
export const slowStartMs = 60_000;

/** The share that it begins with. */
export const slowStartShare = 0.1;

/** Watches of a server that falls end within this time, spread evenly, so that they do not all return at one moment. */
export const watchDrainMs = 10_000;

/** A watch that should end waits this long for the end of the event it is in. */
export const watchBoundaryMs = 1_000;

/** Load up to which stickiness alone decides; a handful of requests needs no balancing. */
export const stickyLoad = 64;

/** A server takes at most this many times its fair share before a user's requests go to their next one. */
export const loadFactor = 1.25;

/** Connections through the balancer at once: each takes two descriptors, and a node has some hundred clients. */
export const maxPassages = 10_000;

/** Bytes of a client that are kept until a server has answered: a ClientHello with post-quantum keys takes 2 KiB, one with a ticket 4. */
export const maxFirstFlightBytes = 16 << 10;

/** Wait for a server's first byte after a ClientHello before another server is asked: a busy one needs some 100 ms. */
export const firstAnswerMs = 1_500;

/** Time for a client of the balancer to say its first word: TLS clients speak first, and at once. */
export const silentClientMs = 30_000;

/** Bytes read ahead of a slow reader for each response. */
export const responseBufferBytes = 64 << 10;
