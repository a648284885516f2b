/**
 * The kubectl path: one request of one user for one cluster. It is parsed once, its bearer token verified, and then carried to the
 * cluster's agent, which verifies the token again and decides. Bytes pass as they are.
 */
import { GatewayError } from "#core/errors.ts";
import { parseCredentials } from "#core/kube/credentials.ts";
import { encodeHeaderText } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { isDiscovery, isLongRunning, streamClass } from "#core/kube/request-class.ts";
import { parseForward } from "#core/kube/forward-target.ts";
import { rawUpgradeHeader, readMeantRequest } from "#core/kube/raw-upgrade.ts";
import type { MeantRequest } from "#core/kube/raw-upgrade.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import { removedRequestNotice } from "#core/kube/removed-request.ts";
import { classifyUpgrade } from "#core/kube/upgrade.ts";
import type { Upgrade } from "#core/kube/upgrade.ts";
import { bulkWindowBytes } from "#core/tunnel/limits.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import type { TokenVerdict, VerifiedToken } from "#identity/token-verdict.ts";
import type { KnownCluster } from "#workers/auth/cluster-book.ts";
import type { RequestAudit } from "#workers/audit.ts";
import { beginAudit } from "#workers/audit.ts";
import { clientAddress } from "#workers/gateway.ts";
import type { ClusterPlace, Gateway } from "#workers/gateway.ts";
import { lastDiscovery } from "./discovery.ts";
import { answerForward } from "./kube-forward.ts";
import { answerHttp } from "./kube-http.ts";
import { tell } from "./failure.ts";
import { answerWebSocket } from "./kube-websocket.ts";
import { registryOf } from "#workers/hub/stubs.ts";
import { revocationOf } from "./revocation.ts";

/** Largest URL and headers, the platform's own: refused here with a Status rather than by an edge with a page. */
const maxHeaderBytes = 64 << 10;

/** A body up to this size travels with its request in one piece: what a stream's first window holds. */
const maxWholeBodyBytes = 48 << 10;

/** A request that may be carried. */
export interface KubeCall {
  readonly gateway: Gateway;
  readonly place: ClusterPlace;
  readonly cluster: KnownCluster;
  readonly request: KubeRequest;
  readonly token: VerifiedToken;
  /** Whether the token was revoked meanwhile, for those that the gateway gave out itself. */
  readonly isRevoked: (() => Promise<boolean>) | undefined;
  readonly upgrade: Upgrade;
  readonly open: OpenPayload;
  readonly signal: AbortSignal;
  readonly audit: RequestAudit;
  /** Milliseconds that the gateway spent on who the user is. */
  readonly authenticateMs: number;
}

export async function handleKube(raw: Request, gateway: Gateway, place: ClusterPlace): Promise<Response> {
  const { headers, bytes } = readHeaders(raw.headers);
  const meant = readMeantRequest(raw.method, headers);
  const request = parseRequest(meant.method, place.target);
  const audit = beginAudit(
    { method: meant.method, place, request, headers, address: clientAddress(gateway.env, raw.headers) },
    gateway.auditLog,
  );
  try {
    if (bytes > maxHeaderBytes) throw new GatewayError("HEADERS_TOO_LARGE", `the headers hold ${bytes} bytes`);
    if (request.type === "invalid") throw new GatewayError(request.code, request.message);
    const startedMs = Date.now();
    const { cluster, token, isRevoked, bearer, protocols } = await authenticate(gateway, place, headers, audit);
    const upgrade = assertCarried(request, headers, meant);
    const isSwitching = upgrade.type === "websocket" || upgrade.type === "raw";
    const owner = { cluster: cluster.record.registration.name, issuer: token.issuer, subject: token.subject };
    audit.whenOver(gateway.limits.enter(owner, isSwitching || isLongRunning(request)));
    const open = openPayload({ raw, place, request, upgrade, headers, bearer, protocols, auditId: audit.id, gateway });
    const call: KubeCall = {
      gateway,
      place,
      cluster,
      request,
      token,
      isRevoked,
      upgrade,
      open,
      signal: raw.signal,
      audit,
      authenticateMs: Date.now() - startedMs,
    };
    if (open.kind === "forward") return await answerForward(call);
    if (isSwitching) return await answerWebSocket(call);
    return await answerHttp(call, open.hasBody ? raw.body : null, await wholeBody(raw, call));
  } catch (thrown) {
    const stored = request.type !== "invalid" && isDiscovery(request) ? await lastDiscovery(gateway, place, headers, thrown) : undefined;
    if (stored === undefined) {
      audit.fail(thrown);
      return tell(thrown, audit.id);
    }
    audit.end({ status: 200, reason: "stored discovery", bytes: 0 });
    return stored;
  }
}

/** @throws GatewayError for what no cluster is asked */
function assertCarried(request: KubeRequest, headers: HeaderPairs, meant: MeantRequest): Exclude<Upgrade, { readonly type: "refused" }> {
  const removed = removedRequestNotice(request);
  if (removed !== undefined) throw new GatewayError("NOT_FOUND", removed);
  const forward = parseForward(request);
  if (forward.type === "invalid") throw new GatewayError("REQUEST_INVALID", forward.message);
  if (meant.problem !== undefined) throw new GatewayError("REQUEST_INVALID", meant.problem);
  const upgrade = classifyUpgrade(request, headers, meant.raw);
  if (upgrade.type === "refused") throw new GatewayError(upgrade.code, upgrade.message);
  return upgrade;
}

interface Authenticated {
  readonly cluster: KnownCluster;
  readonly token: VerifiedToken;
  readonly isRevoked: (() => Promise<boolean>) | undefined;
  readonly bearer: string;
  readonly protocols: readonly string[];
}

async function authenticate(gateway: Gateway, place: ClusterPlace, headers: HeaderPairs, audit: RequestAudit): Promise<Authenticated> {
  const credentials = parseCredentials(headers);
  if (credentials.type === "invalid") throw new GatewayError(credentials.code, credentials.message);
  if (credentials.type === "none") throw new GatewayError("NOT_SIGNED_IN", "the request carries no bearer token");
  const { cluster, token } = await verifyAtDoor(gateway, place, credentials.token);
  if (token.type === "refused") throw new GatewayError(token.reason === "token-expired" ? "TOKEN_EXPIRED" : "TOKEN_INVALID", token.message);
  const isRevoked = revocationOf(gateway, cluster.record.registration.name, token);
  if (isRevoked !== undefined && (await isRevoked()))
    throw new GatewayError("TOKEN_INVALID", "the token was revoked; the gateway's page gives out another kubeconfig");
  audit.verified(token);
  return { cluster, token, isRevoked, bearer: credentials.token, protocols: credentials.protocols };
}

/** The token's verdict at the cluster's door; a key that is not known is looked for once more among what the cluster's agent reported. */
async function verifyAtDoor(
  gateway: Gateway,
  place: ClusterPlace,
  bearer: string,
): Promise<{ readonly cluster: KnownCluster; readonly token: TokenVerdict }> {
  const registry = registryOf(gateway.env);
  const name = place.cluster;
  const cluster = name === undefined ? undefined : await gateway.clusters.find(registry, name);
  if (name === undefined || cluster === undefined) throw new GatewayError("CLUSTER_UNKNOWN", "no cluster of this name is registered here");
  const token = cluster.door.verifyCached(bearer) ?? (await cluster.door.verify(bearer));
  if (token.type === "verified" || (token.reason !== "key-unknown" && token.reason !== "keys-unavailable")) return { cluster, token };
  const newer = (await gateway.clusters.findAgain(registry, name)) ?? cluster;
  return { cluster: newer, token: newer === cluster ? token : await newer.door.verify(bearer) };
}

/** The client's headers as byte strings, names in lower case; a runtime that decoded UTF-8 is undone. */
function readHeaders(headers: Headers): { readonly headers: HeaderPairs; readonly bytes: number } {
  const pairs: (readonly [string, string])[] = [];
  let bytes = 0;
  for (const [name, value] of headers) {
    bytes += name.length + value.length + 4;
    // oxlint-disable-next-line no-control-regex -- everything beyond ASCII is what is looked for
    pairs.push([name, /^[\x00-\x7f]*$/.test(value) ? value : encodeHeaderText(value)]);
  }
  return { headers: pairs, bytes };
}

interface OpenInput {
  readonly raw: Request;
  readonly place: ClusterPlace;
  readonly request: KubeRequest;
  readonly upgrade: Upgrade;
  readonly headers: HeaderPairs;
  readonly bearer: string;
  readonly protocols: readonly string[];
  readonly auditId: string;
  readonly gateway: Gateway;
}

function openPayload(input: OpenInput): OpenPayload {
  const { raw, request, upgrade, headers } = input;
  const isSocket = upgrade.type === "websocket";
  const carried = headers.filter(([name]) => !withheld.has(name) && !name.startsWith("cf-"));
  const lane = streamClass(request);
  const kind = streamKind(upgrade);
  return {
    kind,
    ...(upgrade.type === "raw" && { upgrade: upgrade.protocol }),
    class: lane,
    cluster: input.place.cluster ?? "",
    method: request.method,
    target: input.place.target,
    headers: isSocket && input.protocols.length > 0 ? [...carried, ["sec-websocket-protocol", input.protocols.join(", ")]] : carried,
    token: input.bearer,
    clientAddress: clientAddress(input.gateway.env, raw.headers),
    auditId: input.auditId,
    hasBody: hasBody(raw, upgrade),
    // The largest datagram is larger than a stream's first window.
    receiveBonus: lane === "bulk" || kind === "forward" ? bulkWindowBytes : 0,
  };
}

function streamKind(upgrade: Upgrade): OpenPayload["kind"] {
  if (upgrade.type === "raw") return "upgrade";
  if (upgrade.type !== "websocket") return "http";
  return upgrade.kind === "forward" ? "forward" : "websocket";
}

/** Whether a request brings a body; one that asks for an upgrade to SPDY would keep its body open for ever. */
function hasBody(raw: Request, upgrade: Upgrade): boolean {
  return upgrade.type === "none" && raw.body !== null;
}

/** Headers that end here: the credential travels beside the headers, and the rest belongs to this hop. */
const withheld: ReadonlySet<string> = new Set([
  "authorization",
  "sec-websocket-protocol",
  "sec-websocket-key",
  "sec-websocket-extensions",
  rawUpgradeHeader.toLowerCase(),
  "connection",
  "upgrade",
]);

/** The body of a short request whose answer is expected to be short, which then needs no socket of its own; undefined for any other. */
async function wholeBody(raw: Request, call: KubeCall): Promise<Uint8Array | undefined> {
  if (call.open.class !== "normal" || isLongRunning(call.request)) return undefined;
  if (!call.open.hasBody) return new Uint8Array(0);
  const length = Number(raw.headers.get("content-length") ?? Number.NaN);
  return length <= maxWholeBodyBytes ? new Uint8Array(await raw.arrayBuffer()) : undefined;
}
