/** Every bound of the agent's own dealings with the cluster, each with its reason. */

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

/** Objects in one page of a list: what client-go asks for; an apiserver reads a page in some 100 ms. */
export const listPageSize = 500;

/** Bytes of one object in a list or a watch: etcd holds 1.5 MiB, and JSON takes up to four times what it stores. */
export const maxWatchedObjectBytes = 8 << 20;

/** Bytes of a list around its objects: kind, version and a continue token. */
export const maxListFrameBytes = 256 << 10;

/** Bytes of a refusal's Status. */
export const maxRefusalBytes = 64 << 10;

/** How long a watch is asked to last, at least and at most, as client-go's: both ends look at a fresh connection now and then. */
export const minWatchSeconds = 300;
export const maxWatchSeconds = 600;

/** Wait for the head of a watch: the apiserver gives up a request that it cannot start within 60 s. */
export const watchHeadMs = 75_000;

/** Silence within a watch after which it is given up: apiservers send a bookmark each minute, so two were missed. */
export const watchSilenceMs = 150_000;

/** The same before the first objects are complete: they come without a pause, whatever the number. */
export const initialSilenceMs = 30_000;

/** First wait after a failure; it doubles up to the longest. Both are those of client-go's reflectors. */
export const firstRetryMs = 800;
export const longestRetryMs = 30_000;

/** The longest wait that a Retry-After may ask for: a wrong header must not blind a node for an hour. */
export const longestRetryAfterMs = 120_000;

/** A watch without an event that ended sooner than this is a failure, as for client-go: otherwise it would be opened in a loop. */
export const shortWatchMs = 1_000;

/** Refusals in a row of a watch that goes on from a version, until everything is read anew: etcd may have been restored from a backup. */
export const refusalsToReadAnew = 5;

/** Time between looks for a resource that the apiserver does not serve: it comes with an upgrade. */
export const absentResourceMs = 300_000;

/** Characters of an event's note (events.k8s.io/v1 validation). */
export const maxEventNote = 1_024;

/** Events that are being written at once; more at the same moment say the same. */
export const maxEventsInFlight = 16;

/** Time until a node's startup taint is tried to be removed again. */
export const taintRetryMs = 5_000;

/** Time between looks at a node's own service proxy, to write what changed: rules take up to a second, and a person waits for the news. */
export const nodeLeaseLookMs = 5_000;

/** Least time between two writes of a node's Lease, so that a state that comes and goes costs no more than its kubelet. */
export const nodeLeaseRestMs = 15_000;

/** Time between renewals of a node's Lease while nothing changes: five thousand nodes then write 83 times a second, a sixth of their kubelets. */
export const nodeLeaseRenewMs = 60_000;

/** Time without a renewal after which nothing is known of a node: two were missed. */
export const nodeLeaseSeconds = 180;

/** Time until a Lease that could not be written is tried again. */
export const nodeLeaseRetryMs = 30_000;

/** The same after a refusal: rights come with somebody's change of the manifests. */
export const nodeLeaseRefusedMs = 300_000;

/** Time between looks at the nodes' Leases, for each page of them. */
export const nodeStatesIntervalMs = 30_000;

/** Pages of Leases that are read: ten thousand nodes, twice what Kubernetes is made for. */
export const maxLeasePages = 20;

/** Time for which a change of generations alone is not reported: each report wakes the gateway's object of the cluster. */
export const generationReportMs = 300_000;

/**
 * The Lease of a controller with several replicas: how long it is one's own, how long its holder writes without a renewal, and the time
 * between attempts. What is written in the last moment is answered or given up (`ownRequestTimeoutMs`) before another may hold the Lease.
 */
export const leaderLeaseSeconds = 30;
export const leaderRenewDeadlineMs = 15_000;
export const leaderRetryMs = 3_000;
