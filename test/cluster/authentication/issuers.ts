/**
 * The corpus of the comparison between kube-apiserver's authentication and the token door: authenticators, each an issuer of
 * its own, and tokens for each. A token that only the door refuses names the line of docs/security.md that says why.
 */
import type { TokenCase } from "./tokens.ts";
import { baseTokens } from "./tokens.ts";

/** One authenticator, as the lines of YAML below its issuer, and the tokens that are tried against it. */
export interface IssuerCase {
  /** Also the last part of the issuer's URL. */
  readonly name: string;
  readonly audiences?: readonly string[];
  readonly mappings: string;
  readonly rules?: string;
  /** Shows that the apiserver is ready for this issuer: the first of these that is accepted by it. */
  readonly tokens: readonly TokenCase[];
}

const usernameSub = '{claim: sub, prefix: "x:"}';

/** Claims in many shapes, tried against every mapping. */
const shapes: readonly TokenCase[] = [
  { name: "plain", claims: {} },
  { name: "no groups", claims: { groups: undefined } },
  { name: "groups as a text", claims: { groups: "dev,ops" } },
  { name: "no groups in the list", claims: { groups: [] } },
  { name: "groups null", claims: { groups: null } },
  { name: "a number among the groups", claims: { groups: ["dev", 1] } },
  { name: "null among the groups", claims: { groups: ["dev", null] } },
  { name: "an empty group", claims: { groups: ["", "dev"] } },
  { name: "groups as an object", claims: { groups: { dev: true } } },
  { name: "groups as a number", claims: { groups: 7 } },
  { name: "unverified address", claims: { email_verified: false } },
  { name: "email_verified as a text", claims: { email_verified: "true" } },
  { name: "no email_verified", claims: { email_verified: undefined } },
  { name: "no address", claims: { email: undefined } },
  { name: "an address beyond ASCII", claims: { email: "BÓB@Example.COM", name: "Ünï 😀 Name" } },
  { name: "a number for the team", claims: { team: { name: 7, id: 1234567 } } },
  { name: "no team", claims: { team: undefined } },
  { name: "a jti", claims: { jti: "id-1" } },
  { name: "a jti that is no text", claims: { jti: 7 } },
  { name: "no roles", claims: { roles: undefined } },
  { name: "another level", claims: { level: 0.5 } },
  { name: "an integer level as a text", claims: { level: "3" } },
];

function mapping(name: string, mappings: string, rules = ""): IssuerCase {
  return { name, mappings, rules, tokens: shapes };
}

function username(name: string, expression: string, rules = ""): IssuerCase {
  return mapping(name, `    username: {expression: ${JSON.stringify(expression)}}`, rules);
}

function groups(name: string, expression: string): IssuerCase {
  return mapping(name, `    username: ${usernameSub}\n    groups: {expression: ${JSON.stringify(expression)}}`);
}

function extra(name: string, expression: string): IssuerCase {
  return mapping(name, `    username: ${usernameSub}\n    extra: [{key: example.org/x, valueExpression: ${JSON.stringify(expression)}}]`);
}

function claimRule(name: string, expression: string): IssuerCase {
  return mapping(
    name,
    `    username: ${usernameSub}`,
    `  claimValidationRules: [{expression: ${JSON.stringify(expression)}, message: "no"}]\n`,
  );
}

function userRule(name: string, expression: string): IssuerCase {
  const mappings = `    username: ${usernameSub}\n    groups: {claim: groups, prefix: "g:"}\n    uid: {expression: "'u-' + claims.sub"}\n    extra: [{key: example.org/team, valueExpression: "dyn(claims.roles).map(r, r.name)"}]`;
  return mapping(name, mappings, `  userValidationRules: [{expression: ${JSON.stringify(expression)}}]\n`);
}

/** Every authenticator of the comparison; kube-apiserver takes at most 64 in one file. */
export const issuers: readonly IssuerCase[] = [
  { name: "base", mappings: `    username: ${usernameSub}\n    groups: {claim: groups, prefix: "g:"}`, tokens: baseTokens },
  {
    name: "two-audiences",
    audiences: ["cluster-a", "cluster-b"],
    mappings: `    username: ${usernameSub}`,
    tokens: [
      { name: "the first", claims: {} },
      { name: "the second", claims: { aud: "cluster-b" } },
      { name: "both", claims: { aud: ["cluster-a", "cluster-b"] } },
      { name: "one of ours and another", claims: { aud: ["x", "cluster-b"] } },
      { name: "none of ours", claims: { aud: ["x", "y"] } },
      { name: "no audience", claims: { aud: undefined } },
      { name: "issued to another client", claims: { aud: ["cluster-a", "x"], azp: "x" }, stricter: "azp" },
    ],
  },
  mapping("email-claim", '    username: {claim: email, prefix: "mail:"}'),
  {
    ...mapping("name-claim", '    username: {claim: name, prefix: "x:"}'),
    tokens: [
      ...shapes,
      { name: "an empty name", claims: { name: "" }, stricter: "username-empty" },
      { name: "a name that is null", claims: { name: null }, stricter: "username-empty" },
      { name: "no name", claims: { name: undefined } },
      { name: "a name that is a list", claims: { name: ["alice"] } },
    ],
  },
  mapping("plain-groups", `    username: ${usernameSub}\n    groups: {claim: groups, prefix: ""}`),
  mapping("uid-claim", `    username: ${usernameSub}\n    uid: {claim: email}`),
  {
    ...mapping("uid-missing", `    username: ${usernameSub}\n    uid: {claim: oid}`),
    tokens: [...shapes, { name: "an oid", claims: { oid: "o-1" } }],
  },
  mapping("uid-expression", `    username: ${usernameSub}\n    uid: {expression: "string(claims.team.id)"}`),
  mapping("required-claim", `    username: ${usernameSub}`, "  claimValidationRules: [{claim: email, requiredValue: Alice@Example.com}]\n"),
  mapping("required-empty", `    username: ${usernameSub}`, "  claimValidationRules: [{claim: groups}]\n"),
  username(
    "mail-lower",
    "claims.email.lowerAscii()",
    `  claimValidationRules: [{expression: "claims.?email_verified.orValue(true) == true"}]\n`,
  ),
  username("mail-local", "claims.email_verified ? claims.email.split('@')[0] : 'unverified-' + claims.sub"),
  username("team-name", "claims.?team.name.orValue(claims.sub)"),
  username("substring", "claims.name.substring(0, 3) + claims.name.charAt(4)"),
  username("index", "claims.name.substring(claims.name.indexOf(' ') + 1)"),
  username("last-index", "claims.name.substring(claims.name.lastIndexOf(' '))"),
  username("replace", "claims.name.replace(' ', '-')"),
  username("replace-some", "claims.name.replace('i', 'j', 1).trim().upperAscii()"),
  username("ternary", "has(claims.team) && has(claims.team.id) ? 'team' : 'none'"),
  username("lookup", "{'alice': 'admin', 'bob': 'user'}[claims.sub]"),
  username("number-text", "string(claims.level)"),
  username("truncated", "string(int(claims.level))"),
  username("empty", "claims.?team.orValue('') == '' ? '' : claims.sub"),
  groups("groups-any", "claims.groups"),
  groups("groups-prefixed", "dyn(claims.groups).map(g, 'p:' + g)"),
  groups("groups-filter", "dyn(claims.groups).filter(g, g.startsWith('d'))"),
  groups("groups-map-filter", "dyn(claims.groups).map(g, g != 'ops', g)"),
  groups("groups-split", "claims.scope.split(' ').map(s, 'scope:' + s)"),
  groups("groups-default", "claims.?groups.orValue(['none'])"),
  groups("groups-roles", "claims.realm.access.map(r, r.name)"),
  groups("groups-literal", "claims.sub == 'alice' ? ['a', 'b', ''] : []"),
  groups("groups-plus", "claims.groups + ['added']"),
  groups("groups-text", "claims.email"),
  groups("groups-null", "claims.nothing"),
  groups("groups-wrong", "claims.level"),
  extra("extra-text", "claims.email"),
  extra("extra-list", "claims.groups"),
  extra("extra-conditional", "claims.email_verified ? 'yes' : ''"),
  extra("extra-joined", "dyn(claims.groups).filter(g, g != '').map(g, g + '').join('|')"),
  extra("extra-optional", "claims.?team.?name.orValue('none')"),
  claimRule("rule-verified", "claims.email_verified == true"),
  claimRule("rule-in", "claims.sub in ['alice', 'bob']"),
  claimRule("rule-member", "'dev' in claims.groups"),
  claimRule("rule-size", "size(claims.groups) > 1"),
  claimRule("rule-exists", "dyn(claims.groups).exists(g, g == 'ops')"),
  claimRule("rule-all", "dyn(claims.groups).all(g, g != 'admin')"),
  claimRule("rule-exists-one", "dyn(claims.groups).exists_one(g, g == 'dev')"),
  claimRule("rule-lifetime", "claims.exp - claims.iat <= 3600.0"),
  claimRule("rule-level", "claims.level >= 1 && claims.level < 10"),
  claimRule("rule-integer", "int(claims.level) == 3"),
  claimRule("rule-error-or", "claims.team.name == 'x' || claims.sub == 'alice'"),
  claimRule("rule-error-and", "claims.team.name == 'infra' && !has(claims.absent)"),
  claimRule("rule-matches", "claims.email.matches('(?i)^[a-z.]+@example\\\\.com$')"),
  claimRule("rule-mixed", "claims.level == 3 ? claims.email.endsWith('.com') : claims.groups == ['dev']"),
  claimRule("rule-nested", "claims.realm.access.exists(r, r.name == 'admin' && r.scopes.exists(s, s == 'write'))"),
  claimRule("rule-text-size", "claims.name.size() > 8 && claims.name.size() < 20"),
  userRule("user-prefix", "!user.username.startsWith('system:')"),
  userRule("user-groups", "user.groups.all(g, !g.startsWith('g:sys')) && 'g:dev' in user.groups"),
  userRule("user-uid", "user.uid == 'u-alice' && user.groups.size() < 3"),
  userRule("user-extra", "user.extra['example.org/team'].exists(t, t == 'infra')"),
  userRule("user-extra-in", "'authentication.kubernetes.io/credential-id' in user.extra"),
];
