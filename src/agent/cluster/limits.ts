/** Every bound of the agent's own dealings with the cluster, each with its reason. */

/** How long a token or CA file is used before it is read again: projected tokens change at 80 % of an hour or more. */
export const fileRefreshMs = 10_000;

/** An exec plugin's credential is renewed this long before it expires, so that no request leaves with a dying one. */
export const execRenewalMs = 30_000;

/** Time for an exec plugin: cloud ones ask a metadata server, some twice. */
export const execTimeoutMs = 60_000;

/** Output of an exec plugin: a token or a certificate chain with its key. */
export const maxExecOutputBytes = 1 << 20;

/** Time for one of the agent's own requests; the apiserver's own limit is 60 s, and a user waits for a review. */
export const ownRequestTimeoutMs = 10_000;

/** Answer to one of the agent's own requests: rules of a user in a large cluster are the longest. */
export const maxOwnAnswerBytes = 4 << 20;

/** How long an allowed review holds: as long as the apiserver itself remembers an allowed impersonation. */
export const allowedReviewMs = 10_000;

/** How long a denied review holds: long enough for a retry storm, short enough that a new grant is felt at once. */
export const deniedReviewMs = 1_000;

/** Reviews that are remembered; the oldest goes first. */
export const maxReviews = 2_048;

/** Time between looks at the addresses of the apiservers: control planes change by the day. */
export const endpointsIntervalMs = 15_000;

/** Addresses taken from the cluster: more apiservers than any control plane has. */
export const maxEndpoints = 32;

/** Attempts to agree on the key pair with replicas that start at the same moment: each loser reads the winner's. */
export const keyAttempts = 5;
