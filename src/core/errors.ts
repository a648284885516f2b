/**
 * The one table of failures. A failure has a stable code that users can look up (docs/errors.md is checked against this
 * table), an HTTP status and Kubernetes reason for API clients, an exit code for the command line, and a hint that says what to do.
 * Code decides on codes, never on message text.
 */

interface ErrorRow {
  /** HTTP status that carries it. */
  readonly status: number;
  /** metav1.StatusReason (API reference, meta/v1). */
  readonly reason: string;
  /** Exit code of the command line: 1 error, 2 usage, 3 not found, 4 sign-in needed, 5 denied, 6 cluster offline, 75 try again. */
  readonly exit: number;
  /** What the reader can do. */
  readonly hint: string;
}

export const errorTable = {
  NOT_SIGNED_IN: row(401, "Unauthorized", 4, "Send a bearer token of an issuer that this cluster trusts; `sallyport login` gets one."),
  TOKEN_INVALID: row(401, "Unauthorized", 4, "Sign in again with `sallyport login`; `sallyport doctor` shows which check the token fails."),
  TOKEN_EXPIRED: row(401, "Unauthorized", 4, "Sign in again with `sallyport login`."),
  IDENTITY_REFUSED: row(403, "Forbidden", 5, "Ask the cluster's admin to check the claim mappings of its AuthenticationConfiguration."),
  POLICY_DENIED: row(403, "Forbidden", 5, "Ask the cluster's admin for access."),
  ADMIN_ONLY: row(
    403,
    "Forbidden",
    5,
    "Sign in as a gateway admin: a user whom the rule ADMIN_RULE of the gateway's configuration matches.",
  ),
  REQUEST_INVALID: row(400, "BadRequest", 2, "Correct the request; the message names the part that is wrong."),
  METHOD_NOT_ALLOWED: row(405, "MethodNotAllowed", 2, "Use one of the methods of the Kubernetes API."),
  UPGRADE_UNSUPPORTED: row(
    400,
    "BadRequest",
    2,
    "SPDY cannot cross this gateway by itself. Use kubectl 1.31 or later, or an older one through `sallyport proxy`; on 1.29 and 1.30 set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true and KUBECTL_PORT_FORWARD_WEBSOCKETS=true.",
  ),
  CLUSTER_UNKNOWN: row(404, "NotFound", 3, "Check the cluster's name in the URL; `sallyport cluster list` shows the known ones."),
  CLUSTER_EXISTS: row(409, "Conflict", 1, "Choose another name, or remove the cluster first with `sallyport cluster remove`."),
  NOT_FOUND: row(404, "NotFound", 3, "Check the URL."),
  AGENT_OFFLINE: row(
    503,
    "ServiceUnavailable",
    6,
    "Ask somebody with direct access to look at the agent: kubectl -n sallyport-system get pods",
  ),
  AGENT_GONE: row(
    502,
    "InternalError",
    6,
    "The agent's connection was lost while the request ran; check whether it took effect before you repeat it.",
  ),
  AGENT_TIMEOUT: row(504, "Timeout", 75, "Try again; `sallyport status` shows the agent's state."),
  AGENT_REFUSED: row(
    403,
    "Forbidden",
    5,
    "The gateway log names the cluster's agent that tried to join; another key or cluster is registered for this name.",
  ),
  AGENT_CREDENTIAL: row(
    503,
    "ServiceUnavailable",
    6,
    "The agent's own credential for the cluster cannot be had or was refused; the message and the agent's log say which.",
  ),
  AGENT_TOO_OLD: row(426, "BadRequest", 1, "Install the agent's version that fits the gateway."),
  UPSTREAM_UNREACHABLE: row(
    503,
    "ServiceUnavailable",
    6,
    "The agent reaches none of the cluster's apiservers; check them and the agent's network.",
  ),
  UPSTREAM_LOST: row(
    502,
    "InternalError",
    6,
    "The connection to the apiserver was lost while the request ran; check whether it took effect before you repeat it.",
  ),
  UPSTREAM_TIMEOUT: row(
    504,
    "Timeout",
    75,
    "The apiserver took the request and did not answer in time; check whether it took effect before you repeat it.",
  ),
  UPSTREAM_INVALID: row(
    502,
    "InternalError",
    1,
    "The apiserver's answer breaks the protocol, so it was not passed on; the agent's log has the details.",
  ),
  TARGET_UNKNOWN: row(404, "NotFound", 3, "Check the name, the namespace and the port."),
  TARGET_REFUSED: row(
    403,
    "Forbidden",
    5,
    "Forwards reach running pods, Services whose endpoints are such pods, and nodes, each at an address of its own.",
  ),
  TARGET_UNREACHABLE: row(
    503,
    "ServiceUnavailable",
    75,
    "Check that the target runs and listens on this port, and that network policies let the agent reach it.",
  ),
  TOO_LARGE: row(413, "RequestEntityTooLarge", 1, "Send less at once."),
  URI_TOO_LONG: row(414, "BadRequest", 2, "Shorten the URL: the gateway takes at most 16 KiB."),
  HEADERS_TOO_LARGE: row(431, "BadRequest", 2, "Send fewer or shorter headers: the gateway takes at most 64 KiB."),
  RATE_LIMITED: row(429, "TooManyRequests", 75, "Wait a moment, or close open streams."),
  OVERLOADED: row(503, "ServiceUnavailable", 75, "The gateway is busy; try again."),
  SESSION_ENDED: row(401, "Unauthorized", 4, "The credential that opened this stream has expired or was revoked: sign in again."),
  CONFIGURATION_INVALID: row(400, "BadRequest", 2, "Correct the lines that the message names."),
  USAGE: row(400, "BadRequest", 2, "`--help` shows the command's flags and examples."),
  LISTEN_FAILED: row(400, "BadRequest", 1, "Choose another local port or address; port 0 takes a free one."),
  CANCELLED: row(400, "BadRequest", 2, "Nothing was changed."),
  LOGIN_FAILED: row(401, "Unauthorized", 4, "Run `sallyport login` again; `sallyport doctor` shows which step fails."),
  LOGIN_UNAVAILABLE: row(
    404,
    "NotFound",
    1,
    "Give a token with `sallyport login --token-file`, or ask the gateway's admin to set up the login.",
  ),
  SIGN_IN_FAILED: row(
    400,
    "BadRequest",
    4,
    "Begin the sign-in again from this gateway's own page. If it fails again, tell the gateway's admin what is said above.",
  ),
  SIGN_IN_UNAVAILABLE: row(
    404,
    "NotFound",
    1,
    "Use `sallyport login`, or ask the gateway's admin to set up the browser sign-in (docs/self-hosting.md).",
  ),
  FORM_REFUSED: row(
    403,
    "Forbidden",
    5,
    "Go back, load the page again, and send the form once more. Cookies must be allowed for this address.",
  ),
  KUBECONFIG_UNAVAILABLE: row(
    404,
    "NotFound",
    1,
    "Use `sallyport login` and `sallyport kubeconfig`, or ask the cluster's admin to name the gateway as an issuer (docs/self-hosting.md).",
  ),
  GATEWAY_UNREACHABLE: row(
    503,
    "ServiceUnavailable",
    75,
    "Check the gateway's URL and the network; `sallyport doctor` shows which step fails.",
  ),
  ISSUER_UNREACHABLE: row(503, "ServiceUnavailable", 75, "Check the network to the login's issuer, and try again."),
  INTERNAL: row(500, "InternalError", 1, "This is a fault of Sallyport; the reference in the message finds its log line."),
} as const satisfies Record<string, ErrorRow>;

/** A stable failure code, a key of `errorTable`. */
export type ErrorCode = keyof typeof errorTable;

/** A failure with a code of the table; the message says what failed, on what, and never holds a token, header value or body. */
export class GatewayError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GatewayError";
    this.code = code;
  }
}

/** Any thrown thing as a `GatewayError`; what is not one already becomes INTERNAL and keeps its cause. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError("INTERNAL", "an unexpected fault", { cause: thrown });
}

/** A fault of ours with the reference that finds its line in the log; any other failure as it is. */
export function withReference(error: GatewayError, reference: string): GatewayError {
  return error.code === "INTERNAL"
    ? new GatewayError("INTERNAL", `${error.message} (reference ${reference})`, { cause: error.cause })
    : error;
}

function row(status: number, reason: string, exit: number, hint: string): ErrorRow {
  return { status, reason, exit, hint };
}
