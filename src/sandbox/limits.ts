/** Every limit of the sandbox with its reason. */

/** Events kept for watches that resume; an older resourceVersion gets 410, as from an apiserver whose etcd was compacted. */
export const historyLength = 4096;

/** Largest request body, as a kube-apiserver's (3 MiB). */
export const maxBodyBytes = 3 * 1024 * 1024;

/** Objects in the whole store: the sandbox lives in memory, and one user must not fill it. */
export const maxObjects = 20_000;

/** Bytes of all stored objects together, for the same reason. */
export const maxStoreBytes = 256 * 1024 * 1024;

/** Lists that `continue` tokens can still be used with; the oldest is dropped first and its token gets 410. */
export const maxOpenLists = 64;

/** Bytes that a watcher may leave unread before its watch ends; client-go then watches again from where it was. */
export const maxUnreadWatchBytes = 16 * 1024 * 1024;

/** Bookmarks are sent about this often (cacher.go: one minute). */
export const bookmarkIntervalMs = 60_000;

/** A watch without timeoutSeconds ends after this, the least that an apiserver gives (--min-request-timeout). */
export const watchTimeoutMs = 30 * 60_000;

/** Log kept for each container instance; older lines go first, as with a rotated log. */
export const maxLogBytes = 1024 * 1024;

/** Longest kept log line; a longer one is cut into several, as container runtimes do at 16 KiB. */
export const maxLogLineBytes = 16 * 1024;

/** Container processes at once: each is a Node process of about 45 MB. */
export const maxContainers = 40;

/** exec and attach sessions at once, for the same reason. */
export const maxSessions = 60;

/** Events older than this are removed (--event-ttl of an apiserver: one hour). */
export const eventLifetimeMs = 60 * 60_000;

/** Default and longest life of a ServiceAccount token in seconds (one hour and one day). */
export const tokenSeconds = { default: 3600, shortest: 600, longest: 86_400 } as const;

/** Longest SPDY frame and decoded header block that a port-forward session takes; kubectl sends far less. */
export const maxSpdyFrameBytes = 1024 * 1024;

/** Streams in one port-forward session: two for each connection. */
export const maxSpdyStreams = 2000;
