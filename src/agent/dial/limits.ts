/** Every bound of the dialer, each with its reason. */

/** How long a connection to a target may take to be made: a pod that is there answers in milliseconds, a dropped SYN is sent again after 1 s and 3 s. */
export const dialTimeoutMs = 5_000;

/** Endpoints that are tried for one connection: with `dialTimeoutMs`, well within the time in which the gateway waits for the answer. */
export const maxDialAttempts = 3;

/** Endpoints that are looked at for one connection, so that a hostile list of wrong ones costs a bounded number of reads. */
export const maxLookedAt = 16;

/** Pods of one Deployment that are read: what one answer of the apiserver may hold. */
export const maxListed = 250;

/** Ports of a Service that a message names. */
export const maxNamedPorts = 20;

/** EndpointSlices of one Service that are read: 100 endpoints in each, thus some thousand. */
export const maxSlices = 50;
