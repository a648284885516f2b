/** Every bound of the WebSockets to the apiserver, each with its reason. */

/** Largest message in either direction: what Kubernetes' Go server accepts, and Workers too. */
export const maxMessageBytes = 32 << 20;

/** Fragments of one message: a message of the largest size in 4 KiB pieces; more is a flood of empty ones. */
export const maxFragments = 8_192;

/** Pieces of the connection's bytes that wait for the end of a frame: the largest message in small TCP segments. */
export const maxBufferedChunks = 65_536;

/** Empty messages in a row: they mean nothing to Kubernetes, and cost no window that would hold them back. */
export const maxEmptyMessages = 1_024;

/** Answers to pings that may wait for a peer that reads nothing; more pings than that are not answered (RFC 6455 section 5.5.3 asks for the last only). */
export const maxWaitingPongBytes = 64 << 10;

/** Time between pings, as kubectl's own. */
export const pingIntervalMs = 5_000;

/**
 * Silence after which the peer is given up, as kubectl's own: shorter would end healthy sessions, because the apiserver answers no ping while
 * it waits for a container to read its stdin. A dead network is found sooner, by the pool's probes and TCP keep-alive.
 */
export const peerSilenceMs = 61_000;

/** Wait for the peer's close frame after ours, and for the end of the connection after both. */
export const closeTimeoutMs = 5_000;
