/** Every bound of the role load-balancer, each with its reason. */

/** First wait after a failure, and the longest that doubling leads to: those of Kubernetes' service controller. */
export const firstBackoffMs = 5_000;
export const longestBackoffMs = 300_000;

/** Wait after a write that somebody else's came before: the watch brings the newer object within it. */
export const outdatedRetryMs = 1_000;

/** Load balancers that are worked on at once, unless told: each waits for a provider most of the time. */
export const defaultWorkers = 4;

/** More workers than this only wait for the token bucket. */
export const maxWorkers = 64;

/** The longest wait that a provider's Retry-After may ask for: a wrong header must not stop everything for a day. */
export const longestPauseMs = 600_000;

/** Time between looks for load balancers that are of no Service: each look lists all of them. */
export const orphanIntervalMs = 3_600_000;

/** Characters of a condition's message (metav1.Condition validation allows 32,768): what a person reads. */
export const maxConditionMessage = 1_024;

/** Nodes that a sentence names one by one. */
export const maxNamedNodes = 5;
