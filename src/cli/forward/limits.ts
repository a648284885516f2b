/** Every bound of `sallyport forward`, each with its reason. */

/** How long a new connection waits for a gateway or agent that is away, as it is while one of them is replaced. */
export const patienceMs = 10_000;

/** Between two attempts: the first soon, since a replacement takes a second, and each later one after twice the time. */
export const firstRetryMs = 250;
export const longestRetryMs = 2_000;

/** How long the gateway may take to answer: it waits that long for the cluster (`headTimeoutMs`), and some seconds more. */
export const handshakeTimeoutMs = 85_000;

/** Flows of datagrams at one port: as many clients on one machine are a fault of one of them. */
export const maxFlows = 1_024;

/** How often the lines on a terminal are written anew. */
export const redrawMs = 1_000;

/** A Status is some hundred bytes; what is longer is somebody else's page. */
export const maxAnswerBytes = 64 << 10;
