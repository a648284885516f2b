/**
 * One user's request, from OPEN to its end: verify the token, decide who it is and whether they may be somebody else, write the
 * headers, send it on, and carry what comes back. Each step either goes on or ends with one clear failure; no step repairs.
 */
import { GatewayError, toGatewayError, withReference } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { decideIdentity } from "#core/access/identity.ts";
import type { Identity } from "#core/access/identity.ts";
import { nodeProxyProblem } from "#core/access/kubelet-paths.ts";
import { parseForward } from "#core/kube/forward-target.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import { impersonationChecks, parseImpersonation } from "#core/kube/impersonation-request.ts";
import { isLongRunning, isUpgradeSubresource } from "#core/kube/request-class.ts";
import { rawUpgradeProblem } from "#core/kube/raw-upgrade.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import { failureSentence, failureStatus, warningHeader } from "#core/kube/status.ts";
import { errorTable } from "#core/errors.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import type { RequestEnd, RequestRecord } from "./record.ts";
import { forwardHttp } from "./forward-http.ts";
import { forwardRaw } from "./forward-raw.ts";
import { describeTarget, forwardTarget } from "./forward-target.ts";
import { forwardWebSocket } from "./forward-websocket.ts";

/** Handles one stream; never rejects. */
export async function handleStream(options: HandlerOptions, open: OpenPayload, stream: TunnelStream): Promise<void> {
  const record = options.recorder.begin(open);
  const abort = new AbortController();
  let leave: () => void = () => undefined;
  try {
    const request = await admit(options, open, record);
    const leaveUser = options.limits.enter(request.token, request.longRunning);
    leave = leaveUser;
    const ended = (end: RequestEnd) => {
      leaveUser();
      record.end(end);
    };
    const admitted = { ...request, record: { end: ended } };
    record.admit(admitted);
    await carry(options, admitted, stream, abort);
  } catch (thrown) {
    leave();
    const error = toGatewayError(thrown);
    record.end({ status: errorTable[error.code].status, reason: error.code, bytesIn: stream.receivedBytes, bytesOut: stream.sentBytes });
    if (error.code === "INTERNAL") options.recorder.fault(error, open.auditId);
    if (!stream.isClosed) sendFailure(stream, withReference(error, open.auditId));
  }
}

/** How what is meant for an apiserver is carried there. */
const forwarders = { http: forwardHttp, websocket: forwardWebSocket, upgrade: forwardRaw } as const;

/** What was parsed decides: a forward never goes to an apiserver, and nothing else is ever dialled. */
async function carry(options: HandlerOptions, admitted: AdmittedRequest, stream: TunnelStream, abort: AbortController): Promise<void> {
  const { kind } = admitted.open;
  const target = assertKind(admitted);
  if (target !== undefined) {
    const forward = { admitted, target, user: reviewedUser(admitted.identity) };
    return kind === "http" ? describeTarget(options, forward, stream) : forwardTarget(options, forward, stream);
  }
  if (kind === "forward") throw new GatewayError("REQUEST_INVALID", "the stream's kind is not what its path is for");
  return forwarders[kind](options, admitted, stream, abort);
}

/** The forward's target, if it is one; what was opened must be what its path is for. */
function assertKind({ open, request }: AdmittedRequest): ForwardTarget | undefined {
  const forward = parseForward(request);
  if (forward.type === "invalid") throw new GatewayError("REQUEST_INVALID", forward.message);
  const isForward = forward.type === "forward";
  if (open.kind !== "http" && isForward !== (open.kind === "forward"))
    throw new GatewayError("REQUEST_INVALID", "the stream's kind is not what its path is for");
  return isForward ? forward.target : undefined;
}

/** Answers a stream that has sent no head yet with a failure. */
function sendFailure(stream: TunnelStream, error: GatewayError): void {
  const body = new TextEncoder().encode(JSON.stringify(failureStatus(error.code, error.message)));
  stream.listen({
    onData: (_payload, _kind, consumed) => consumed(),
    onEnd: () => undefined,
    onReset: () => undefined,
    onDrain: () => undefined,
  });
  stream.sendHead({
    status: errorTable[error.code].status,
    headers: [
      ["Content-Type", "application/json"],
      ["Cache-Control", "no-store"],
      ["Warning", warningHeader(failureSentence(error.code, error.message))],
      ...(errorTable[error.code].status === 429 ? [["Retry-After", "1"] as const] : []),
    ],
    timing: { verifyMs: 0, upstreamMs: 0 },
  });
  stream.write(body, { messageEnd: true, text: false });
  stream.end();
}

/** @throws GatewayError when the request may not go on */
async function admit(options: HandlerOptions, open: OpenPayload, record: RequestRecord): Promise<AdmittedRequest> {
  if (open.cluster !== options.cluster) throw new GatewayError("POLICY_DENIED", "the request is for another cluster");
  const request = parseRequest(open.method, open.target);
  if (request.type === "invalid") throw new GatewayError(request.code, request.message);
  const rawProblem = open.kind === "upgrade" ? rawUpgradeProblem(request, open.upgrade ?? "") : undefined;
  if (rawProblem !== undefined) throw new GatewayError("REQUEST_INVALID", rawProblem);
  const startedMs = performance.now();
  const token = options.door.verifyCached(open.token) ?? (await options.door.verify(open.token));
  const verifyMs = performance.now() - startedMs;
  if (token.type === "refused") throw new GatewayError(tokenFailure(token.reason), token.message);
  record.verified(token);
  options.sessions.renew(token);
  const own = decide(options, token.identity);
  const nodeProblem = nodeProxyProblem({ request, isUpgrade: open.kind !== "http" }, options.allowedKubeletPaths);
  if (nodeProblem !== undefined) throw new GatewayError("POLICY_DENIED", nodeProblem);
  const requested = parseImpersonation(open.headers);
  if (requested.type === "invalid") throw new GatewayError("REQUEST_INVALID", requested.message);
  const admitted = { open, request, token, longRunning: isLongRunning(request) || open.kind !== "http", verifyMs, record };
  if (requested.type === "none") {
    await assertMayUpgrade(options, open, request, own);
    return { ...admitted, identity: own, originalUser: undefined };
  }
  const identity = decideRequested(requested.identity);
  await assertMayImpersonate(options, own, identity);
  await assertMayUpgrade(options, open, request, identity);
  return { ...admitted, identity, originalUser: own.username };
}

function tokenFailure(reason: string): ErrorCode {
  return reason === "token-expired" ? "TOKEN_EXPIRED" : "TOKEN_INVALID";
}

function decide(options: HandlerOptions, identity: Identity): Identity {
  const decision = decideIdentity(identity, options.allowedGroups);
  if (decision.type === "refused") throw new GatewayError("IDENTITY_REFUSED", decision.message);
  if (decision.droppedGroups > 0) options.onDroppedGroups(decision.droppedGroups);
  return decision.identity;
}

/** Whom a user asks to be with `--as` is limited by the cluster, which is asked about each name, and by the agent's own rights. */
function decideRequested(identity: Identity): Identity {
  if (identity.username.trim() === "") throw new GatewayError("REQUEST_INVALID", "Impersonate-User is empty");
  return identity;
}

async function assertMayImpersonate(options: HandlerOptions, own: Identity, requested: Identity): Promise<void> {
  for (const check of impersonationChecks(requested)) {
    if (await options.reviews.isAllowed(reviewedUser(own), check)) continue;
    throw new GatewayError("POLICY_DENIED", `${own.username} may not impersonate ${check.resource} ${check.name}`);
  }
}

/**
 * Before Kubernetes 1.35 a WebSocket exec, attach or port-forward needs only `get`, because the upgrade is a GET
 * (AuthorizePodWebsocketUpgradeCreatePermission): here it always needs `create`, as the POST does.
 */
async function assertMayUpgrade(options: HandlerOptions, open: OpenPayload, request: KubeRequest, user: Identity): Promise<void> {
  if (open.kind === "http" || !isUpgradeSubresource(request)) return;
  const { apiGroup, apiVersion, resource, subresource, namespace, name } = request;
  const allowed = await options.reviews.isAllowed(reviewedUser(user), {
    verb: "create",
    group: apiGroup,
    version: apiVersion,
    resource,
    subresource,
    namespace,
    name,
  });
  if (allowed) return;
  throw new GatewayError(
    "POLICY_DENIED",
    `pods "${name}" is forbidden: User "${user.username}" cannot create resource "pods/${subresource}" in the namespace "${namespace}"`,
  );
}

/** The user with the groups that the apiserver adds to everybody it impersonates (proxy behaviour of `impersonation.go`). */
function reviewedUser(user: Identity): Identity {
  if (user.groups.includes("system:authenticated") || user.groups.includes("system:unauthenticated")) return user;
  const [, kind, namespace] = user.username.split(":");
  const isAccount = user.username.startsWith("system:serviceaccount:") && user.groups.length === 0 && kind === "serviceaccount";
  const own = isAccount ? ["system:serviceaccounts", `system:serviceaccounts:${namespace ?? ""}`] : user.groups;
  const everybody = user.username === "system:anonymous" ? "system:unauthenticated" : "system:authenticated";
  return { ...user, groups: [...own, everybody] };
}
