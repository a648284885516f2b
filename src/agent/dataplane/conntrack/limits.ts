/** Every bound of conntrack reconciliation, each with its reason. */

/** Times that a listing is asked for: the kernel breaks one off (EINTR) only while the table changes under it. */
export const listAttempts = 3;

/** Groups of stale entries deleted in one run: the tool reads the whole table for each, some 0.1 s at 100,000 entries. */
export const maxDeletes = 256;

/** Time for one call of the tool: a full table (some 260,000 entries) is listed in two seconds on a busy machine. */
export const toolTimeoutMs = 30_000;

/** Bytes of the tool's own words that are kept for people. */
export const maxMessageBytes = 1_024;

/** Time between runs without a change: a packet that met the old rules may make its entry after the table was read. */
export const reconcilePeriodMs = 60_000;
