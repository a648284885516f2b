/** Every bound of `sallyport proxy`, each with its reason. Where kubectl proxy has a value, it is kubectl's. */

/** Bytes of a request's or an answer's head: Go's limit, which kubectl proxy has. */
export const maxHeadBytes = 1 << 20;

/** Time for a connection to the apiserver with its TLS handshake (client-go: 30 s and 10 s). */
export const dialTimeoutMs = 40_000;

/** An idle connection to the apiserver is kept this long (client-go). */
export const idleConnectionMs = 90_000;

/** Time for a client to send a request's head: kubectl proxy waits for ever, and a forgotten connection then stays. */
export const requestHeadTimeoutMs = 60_000;

/** Keep-alive probes of an upgraded connection where --keepalive is 0: Go's default. */
export const defaultKeepAliveMs = 15_000;

/** Time for the end of a refused upgrade's answer to reach the client (apimachinery). */
export const refusedUpgradeTimeoutMs = 10_000;

/** Silence of the gateway after which a carried upgrade is given up; it answers each ping. kubectl's own for a WebSocket. */
export const carriedSilenceMs = 61_000;

/** Largest message of a carried upgrade: what the gateway reads from the tunnel at once is far less. */
export const maxCarriedMessageBytes = 32 << 20;
