/**
 * The audit log's line: one audit.k8s.io/v1 Event as JSON, so that tools which read Kubernetes audit logs read the gateway's, and
 * join the two by `auditID`. A line holds what strangers chose (paths, names, user agents), so it is bounded and escaped: whatever
 * comes in, one line comes out that is valid JSON and moves no terminal. Tokens are not written: query values that carry one and
 * anything that looks like a JWT are replaced.
 */
import { isLongRunning } from "#core/kube/request-class.ts";
import type { KubeRequest, ParsedRequest } from "#core/kube/request-path.ts";
import type { Identity } from "./identity.ts";

/** When an event is written: once a stream is open, and when a request or stream is over. */
export type AuditStage = "ResponseStarted" | "ResponseComplete";

/** What happened. */
export interface AuditInput {
  /** The id that goes to the apiserver as `Audit-ID`. */
  readonly auditId: string;
  readonly stage: AuditStage;
  /** Milliseconds since 1970. */
  readonly receivedAtMs: number;
  readonly stageAtMs: number;
  readonly request: ParsedRequest;
  /** Method and target as sent: an invalid request has nothing else. */
  readonly method: string;
  readonly target: string;
  /** The verified user; undefined when nobody was. */
  readonly user?: Identity | undefined;
  /** Whom the request runs as, when that is somebody else (`kubectl --as`). */
  readonly impersonatedUser?: Identity | undefined;
  /** The client's address first. */
  readonly sourceIps: readonly string[];
  readonly userAgent: string;
  readonly response?: { readonly code: number; readonly reason?: string | undefined; readonly message?: string | undefined } | undefined;
  /** Keys without prefix, such as `decision`, `close-reason`, `bytes-received`; written as `sallyport.dev/<key>`. */
  readonly annotations: Readonly<Record<string, string | number>>;
}

/** Bytes of a line, above which it is written again with little of each part: most log collectors cut lines at 64 KiB or more. */
export const maximumAuditLineBytes = 64 * 1024;

/** The stages that a request is audited at: a stream says that it opened, because its end may be hours away. */
export function auditStages(request: KubeRequest): readonly AuditStage[] {
  return isLongRunning(request) ? ["ResponseStarted", "ResponseComplete"] : ["ResponseComplete"];
}

/** The event as one line of JSON, without the line end. */
export function auditLine(input: AuditInput): string {
  const line = toLine(auditEvent(input, fullBudget));
  if (new TextEncoder().encode(line).length <= maximumAuditLineBytes) return line;
  return toLine(auditEvent({ ...input, annotations: { truncated: "true", ...input.annotations } }, smallBudget));
}

/** A request target without its secrets, cut to `maximumLength`. */
export function redactTarget(target: string, maximumLength: number): string {
  const cut = target.slice(0, maximumLength);
  const mark = cut.indexOf("?");
  if (mark === -1) return redactTokens(cut);
  const pairs = cut.slice(mark + 1).split("&");
  return redactTokens(`${cut.slice(0, mark)}?${pairs.map((pair) => redactPair(pair)).join("&")}`);
}

/** How much of each part is written. */
interface Budget {
  /** UTF-16 units of one text. */
  readonly text: number;
  readonly target: number;
  readonly groups: number;
  readonly extras: number;
  readonly annotations: number;
}

const fullBudget: Budget = { text: 512, target: 4096, groups: 250, extras: 64, annotations: 32 };
const smallBudget: Budget = { text: 64, target: 512, groups: 16, extras: 0, annotations: 16 };

/** Query parameters whose value is a secret wherever they appear; compared without case and after decoding. */
const secretParameter =
  /^(?:(?:access|refresh|id|auth|session|bearer)?[-_]?token|authorization|password|passwd|(?:client)?[-_]?secret|api[-_]?key|code|assertion|signature|sig)$/i;

function auditEvent(input: AuditInput, budget: Budget): object {
  const { request } = input;
  return {
    kind: "Event",
    apiVersion: "audit.k8s.io/v1",
    level: "Metadata",
    auditID: cutText(input.auditId, budget.text),
    stage: input.stage,
    requestURI: redactTarget(input.target, budget.target),
    verb: cutText(request.type === "invalid" ? input.method.slice(0, budget.text).toLowerCase() : request.verb, budget.text),
    user: input.user === undefined ? {} : userInfo(input.user, budget),
    impersonatedUser: input.impersonatedUser === undefined ? undefined : userInfo(input.impersonatedUser, budget),
    sourceIPs: input.sourceIps.slice(0, 8).map((address) => cutText(address, 64)),
    userAgent: cutText(input.userAgent, budget.text),
    objectRef: request.type === "resource" ? objectReference(request, budget) : undefined,
    responseStatus: input.response === undefined ? undefined : responseStatus(input.response, budget),
    requestReceivedTimestamp: microTime(input.receivedAtMs),
    stageTimestamp: microTime(input.stageAtMs),
    annotations: annotationsOf(input.annotations, budget),
  };
}

function userInfo(user: Identity, budget: Budget): object {
  const extra = Object.entries(user.extra).slice(0, budget.extras);
  return {
    username: cutText(user.username, budget.text),
    uid: optionalText(user.uid, budget),
    groups: user.groups.slice(0, budget.groups).map((group) => cutText(group, budget.text)),
    extra:
      extra.length === 0
        ? undefined
        : Object.fromEntries(extra.map(([key, values]) => [cutText(key, budget.text), cutTexts(values, budget)])),
  };
}

function objectReference(request: Extract<KubeRequest, { readonly type: "resource" }>, budget: Budget): object {
  return {
    resource: optionalText(request.resource, budget),
    namespace: optionalText(request.namespace, budget),
    name: optionalText(request.name, budget),
    apiGroup: optionalText(request.apiGroup, budget),
    apiVersion: optionalText(request.apiVersion, budget),
    subresource: optionalText(request.subresource, budget),
  };
}

function responseStatus(response: NonNullable<AuditInput["response"]>, budget: Budget): object {
  return {
    metadata: {},
    status: response.code >= 400 ? "Failure" : undefined,
    message: optionalText(response.message ?? "", budget),
    reason: optionalText(response.reason ?? "", budget),
    code: response.code,
  };
}

function annotationsOf(annotations: AuditInput["annotations"], budget: Budget): object | undefined {
  const entries = Object.entries(annotations).slice(0, budget.annotations);
  if (entries.length === 0) return undefined;
  return Object.fromEntries(entries.map(([key, value]) => [`sallyport.dev/${cutText(key, 63)}`, cutText(String(value), budget.text)]));
}

function cutTexts(values: readonly string[], budget: Budget): readonly string[] {
  return values.slice(0, budget.extras).map((value) => cutText(value, budget.text));
}

function optionalText(text: string, budget: Budget): string | undefined {
  return text === "" ? undefined : cutText(text, budget.text);
}

function cutText(text: string, maximumLength: number): string {
  return redactTokens(text.slice(0, maximumLength)).toWellFormed();
}

/** JWTs, whole or cut: base64url of a JSON object starts with `eyJ`. */
function redactTokens(text: string): string {
  return text.replaceAll(/eyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g, "REDACTED");
}

function redactPair(pair: string): string {
  const equals = pair.indexOf("=");
  if (equals === -1) return pair;
  return secretParameter.test(decodeName(pair.slice(0, equals))) ? `${pair.slice(0, equals)}=REDACTED` : pair;
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // URIError: a broken escape, which no server reads as a name
  }
}

/** metav1.MicroTime. */
function microTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString().replace("Z", "000Z");
}

/**
 * JSON leaves DEL, C1 controls (a terminal's other escape), bidirectional marks and Unicode line ends as they are; log readers and
 * terminals act on them.
 */
function toLine(event: object): string {
  return JSON.stringify(event).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    return Array.from({ length: character.length }, (_, index) => escapeUnit(character.charCodeAt(index))).join("");
  });
}

function escapeUnit(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`;
}
