import type { Identity } from "#core/access/identity.ts";
import type { ClaimRule, ExpressionRule, JwtAuthenticator, Mapping, PrefixedMapping } from "./configuration.ts";
import type { ExpressionResult } from "./expression.ts";
import type { JsonObject, JsonValue } from "./strict-json.ts";
import { refuse, type RefusedToken } from "./token-verdict.ts";

/** The identity that claims map to, and that all rules accept. */
export interface MappedIdentity {
  readonly type: "mapped";
  readonly identity: Identity;
}

/** The extra attribute in which kube-apiserver records the token's `jti` (KEP-3331). */
export const credentialIdKey = "authentication.kubernetes.io/credential-id";

type Mapped<Value> = { readonly type: "value"; readonly value: Value } | RefusedToken;

/** Maps verified claims to an identity exactly as kube-apiserver's JWT authenticator does, and applies the configured rules. */
export function mapClaims(claims: JsonObject, authenticator: JwtAuthenticator): MappedIdentity | RefusedToken {
  const username = mapUsername(claims, authenticator.username);
  if (username.type === "refused") return username;
  const groups = mapGroups(claims, authenticator.groups);
  if (groups.type === "refused") return groups;
  const uid = mapUid(claims, authenticator.uid);
  if (uid.type === "refused") return uid;
  const extra = mapExtra(claims, authenticator);
  if (extra.type === "refused") return extra;
  const identity = { username: username.value, uid: uid.value, groups: groups.value, extra: extra.value };
  return refuseClaims(claims, authenticator.claimRules) ?? refuseUser(identity, authenticator.userRules) ?? { type: "mapped", identity };
}

function mapUsername(claims: JsonObject, mapping: PrefixedMapping): Mapped<string> {
  if (mapping.type === "expression") {
    const result = mapping.expression.evaluate(claims);
    if (result.type === "text" && result.value !== "") return mapped(result.value);
    return failed("the username expression gives no text, or an empty one", result);
  }
  const username = claims.get(mapping.claim);
  if (typeof username !== "string" || username === "") return failed(`the username claim ${mapping.claim} is not a string, or is empty`);
  // OpenID Connect Core section 5.1: an address that the issuer says it has not verified identifies nobody.
  if (mapping.claim === "email" && claims.has("email_verified") && claims.get("email_verified") !== true) {
    return failed("the issuer has not verified the email address (email_verified)");
  }
  return mapped(mapping.prefix + username);
}

function mapGroups(claims: JsonObject, mapping: PrefixedMapping | undefined): Mapped<readonly string[]> {
  if (mapping === undefined) return mapped([]);
  if (mapping.type === "expression") return toTexts(mapping.expression.evaluate(claims), "the groups expression");
  const value = claims.get(mapping.claim);
  if (value === undefined || value === null) return mapped([]);
  const groups = (Array.isArray(value) ? value : [value]).map(toTextOrEmpty).filter((group) => group !== undefined);
  if (groups.length !== (Array.isArray(value) ? value.length : 1)) {
    return failed(`the groups claim ${mapping.claim} is neither a string nor an array of strings`);
  }
  return mapped(groups.map((group) => mapping.prefix + group));
}

function mapUid(claims: JsonObject, mapping: Mapping | undefined): Mapped<string> {
  if (mapping === undefined) return mapped("");
  if (mapping.type === "expression") {
    const result = mapping.expression.evaluate(claims);
    return result.type === "text" ? mapped(result.value) : failed("the uid expression gives no text", result);
  }
  const uid = toTextOrEmpty(claims.get(mapping.claim));
  return uid === undefined ? failed(`the uid claim ${mapping.claim} is missing or not a string`) : mapped(uid);
}

function mapExtra(claims: JsonObject, authenticator: JwtAuthenticator): Mapped<Identity["extra"]> {
  const extra: [string, readonly string[]][] = [];
  const tokenId = claims.get("jti");
  if (typeof tokenId === "string" && tokenId !== "") extra.push([credentialIdKey, [`JTI=${tokenId}`]]);
  for (const { key, expression } of authenticator.extra) {
    const values = toTexts(expression.evaluate(claims), `the expression of the extra key ${key}`);
    if (values.type === "refused") return values;
    if (values.value.length > 0) extra.push([key, values.value]);
  }
  return mapped(Object.fromEntries(extra));
}

function refuseClaims(claims: JsonObject, rules: readonly ClaimRule[]): RefusedToken | undefined {
  for (const rule of rules) {
    if (rule.type === "claim") {
      if (toTextOrEmpty(claims.get(rule.claim)) !== rule.requiredValue) {
        return refuse("claim-rule-failed", `the claim ${rule.claim} does not have the required value`);
      }
    } else if (!isTrue(rule.expression.evaluate(claims))) {
      return refuse("claim-rule-failed", ruleMessage("claim", rule));
    }
  }
  return undefined;
}

function refuseUser(identity: Identity, rules: readonly ExpressionRule[]): RefusedToken | undefined {
  if (rules.length === 0) return undefined;
  const user = new Map<string, JsonValue>([
    ["username", identity.username],
    ["uid", identity.uid],
    ["groups", identity.groups],
    ["extra", new Map(Object.entries(identity.extra))],
  ]);
  const broken = rules.find((rule) => !isTrue(rule.expression.evaluate(user)));
  return broken === undefined ? undefined : refuse("user-rule-failed", ruleMessage("user", broken));
}

function ruleMessage(kind: string, rule: ExpressionRule): string {
  return rule.message === "" ? `a ${kind} validation rule of the cluster's configuration refuses the token` : rule.message;
}

function isTrue(result: ExpressionResult): boolean {
  return result.type === "truth" && result.value;
}

/** A text, or a list of texts; empty texts, empty lists and null count as not present (API reference, ExtraMapping). */
function toTexts(result: ExpressionResult, name: string): Mapped<readonly string[]> {
  if (result.type === "null") return mapped([]);
  if (result.type === "text") return mapped(result.value === "" ? [] : [result.value]);
  if (result.type === "texts") return mapped(result.values.filter((value) => value !== ""));
  return failed(`${name} gives neither a text nor a list of texts`, result);
}

/** A claim read as text the way Go reads JSON into a string: null is the empty text. */
function toTextOrEmpty(value: JsonValue | undefined): string | undefined {
  if (value === null) return "";
  return typeof value === "string" ? value : undefined;
}

function mapped<Value>(value: Value): Mapped<Value> {
  return { type: "value", value };
}

function failed(message: string, result?: ExpressionResult): RefusedToken {
  return refuse("mapping-failed", result?.type === "failed" ? `${message}: it cannot be evaluated for this token` : message);
}
