/** Every bound of a kubeconfig's credentials, each with its reason. */

/** How long a token, certificate or CA file is used before it is read again: projected tokens change at 80 % of an hour or more. */
export const fileRefreshMs = 10_000;

/** An exec plugin's credential is renewed this long before it expires, so that no request leaves with a dying one. */
export const execRenewalMs = 30_000;

/** Time for an exec plugin: cloud ones ask a metadata server, some twice. A plugin that may talk to a person has no limit. */
export const execTimeoutMs = 60_000;

/** Output of an exec plugin: a token or a certificate chain with its key. */
export const maxExecOutputBytes = 1 << 20;
