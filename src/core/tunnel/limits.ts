/** Every bound of the tunnel protocol, each with its reason. Both ends use the same ones; docs/protocol.md lists them. */

/** Bytes of a frame's header. */
export const frameHeaderBytes = 8;

/**
 * Credit that a DATA frame costs beside its payload, and what one that waits counts for: about what keeping a small frame costs, so that a
 * flood of tiny or empty messages is held back before it fills a memory.
 */
export const frameCostBytes = 64;

/** Frames in a message that we make: a quarter of what a peer takes. */
export const maxBatchFrames = 4_096;

/** Largest WebSocket message: older hibernation read loops of Workers stop at 1 MiB. */
export const maxMessageBytes = 1 << 20;

/** Largest DATA payload: small enough that streams interleave, large enough that per-message cost stays below copying. */
export const maxDataBytes = 128 << 10;

/** Largest OPEN or HEAD payload: Workers carry at most 128 KB of headers, which JSON may nearly double. */
export const maxHeadBytes = 256 << 10;

/** Largest payload of any other control frame (HELLO, STATUS, GOAWAY, RST and END reasons). */
export const maxControlBytes = 64 << 10;

/** Largest datagram: what UDP over IPv4 can hold. */
export const maxDatagramBytes = 65_507;

/** Credit that each direction of a stream starts with: one round trip's worth of an interactive stream. */
export const initialWindowBytes = 64 << 10;

/** Credit added at OPEN for streams that are expected to be long: a fast start for lists and copies, and all that a hundred stalled ones hold. */
export const bulkWindowBytes = 128 << 10;

/** Largest window that a stream grows to: 4 MiB fill 1 Gbit/s at 30 ms; a stalled reader can hold no more than this. */
export const maxWindowBytes = 4 << 20;

/** What all windows of one Worker isolate may grow by together: an isolate has 128 MB for everything. */
export const sharedWindowBytes = 16 << 20;

/** A window doubles when a whole one was consumed within this time by a reader that kept up: a slower stream needs no larger one. */
export const windowGrowthMs = 100;

/** Messages are filled with waiting frames up to this size: a Durable Object pays per message, not per byte. */
export const batchBytes = 128 << 10;

/** An interactive lane's batch: small, so that a keystroke never waits behind a large message. */
export const interactiveBatchBytes = 32 << 10;

/** A lane's sender stops filling the socket above this: what is in the kernel cannot be overtaken by a control frame. */
export const laneBufferBytes = 256 << 10;

/** Largest WebSocket message of a user's stream: what Kubernetes' Go server and Workers accept. */
export const maxStreamMessageBytes = 32 << 20;

/** Streams that one lane carries at once: 10,000 watches and some reserve. */
export const maxStreamsPerLane = 16_384;

/** Datagrams of one flow that wait for credit or the lane: the oldest is dropped beyond it, as a router would. */
export const maxQueuedDatagrams = 64;

/** A flow of datagrams without any for this long is over, as connection tracking has it (`nf_conntrack_udp_timeout`). */
export const flowIdleMs = 30_000;

/** How often an agent looks whether the target of a flow is still there while datagrams go: an address may be another pod's soon. */
export const flowCheckMs = 5_000;

/** Frames without payload or credit cost that one message may hold: a flood of them is an attack, not traffic. */
export const maxFramesPerMessage = 16_384;

/** Control frames that may wait for a lane: a few for each of its streams. A peer that causes more and does not read them would fill the memory. */
export const maxWaitingControl = 4 * maxStreamsPerLane;

/** Frames about a lane itself (PING, STATUS, GOAWAY) that it may bring between two heartbeats: agents report each half minute. */
export const maxLaneFrames = 64;

/** Bytes behind which an agent asks with a PING whether they were read; one that follows as many is no frame too many. */
export const smallestBurstBytes = 512 << 10;

/** Time between an agent's heartbeats on each lane: well below the 100 s after which edges drop silent sockets. */
export const heartbeatMs = 8_000;

/** A lane without a heartbeat or an answer for this long is dead: two heartbeats lost, with some slack. */
export const laneDeadMs = 17_000;

/** How often that is looked at: with `laneDeadMs`, a network that swallows everything is noticed within 20 s. */
export const laneCheckMs = 2_500;

/** A lane must finish its handshake in this time, or it is closed. */
export const handshakeMs = 10_000;

/** How long a request may wait for the response's head: apiservers answer or time out within 60 s. */
export const headTimeoutMs = 75_000;
