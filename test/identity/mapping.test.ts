/** What verified claims become, and which rules refuse them: each row is one configuration and one token's claims. */
import { beforeAll, describe, expect, it } from "vitest";
import { makeClaims, makeConfigurationText, makeDoor, makeKey, makeToken } from "./makers.ts";
import type { SigningKey } from "./makers.ts";

let key: SigningKey;

beforeAll(async () => {
  key = await makeKey();
});

const username = `    username: {claim: sub, prefix: "oidc:"}`;

interface Row {
  readonly mappings?: string;
  readonly rest?: string;
  readonly claims?: Readonly<Record<string, unknown>>;
}

async function verify({ claims, ...configuration }: Row) {
  const token = await makeToken({ key, payload: makeClaims(claims) });
  return makeDoor([key], { text: makeConfigurationText(configuration) }).verify(token);
}

describe("a mapping refuses", () => {
  it.each<readonly [string, Row]>([
    ["a username that is missing", { claims: { sub: "alice", name: undefined }, mappings: `    username: {claim: name, prefix: ""}` }],
    ["a username that is empty", { claims: { name: "" }, mappings: `    username: {claim: name, prefix: "oidc:"}` }],
    ["a username that is a number", { claims: { name: 7 }, mappings: `    username: {claim: name, prefix: ""}` }],
    ["a username that is null", { claims: { name: null }, mappings: `    username: {claim: name, prefix: ""}` }],
    ["a username expression that gives no text", { mappings: `    username: {expression: "claims.groups"}` }],
    ["a username expression that gives nothing", { claims: { name: "" }, mappings: `    username: {expression: "claims.name"}` }],
    ["a username expression over what is not there", { mappings: `    username: {expression: "claims.nickname"}` }],
    [
      "an e-mail address that is not verified",
      { claims: { email: "a@b.c", email_verified: false }, mappings: `    username: {claim: email, prefix: ""}` },
    ],
    [
      "an e-mail address that is verified as text",
      { claims: { email: "a@b.c", email_verified: "true" }, mappings: `    username: {claim: email, prefix: ""}` },
    ],
    ["a group that is a number", { claims: { groups: ["dev", 7] } }],
    ["groups that are an object", { claims: { groups: { dev: true } } }],
    ["groups in groups", { claims: { groups: [["dev"]] } }],
    [
      "a groups expression that gives numbers",
      { claims: { groups: [1] }, mappings: `${username}\n    groups: {expression: "claims.groups"}` },
    ],
    ["a uid that is missing", { mappings: `${username}\n    uid: {claim: employee}` }],
    ["a uid that is a number", { claims: { employee: 7 }, mappings: `${username}\n    uid: {claim: employee}` }],
    [
      "an extra that is a number",
      { claims: { level: 7 }, mappings: `${username}\n    extra: [{key: example.com/level, valueExpression: "claims.level"}]` },
    ],
  ])("%s", async (_name, row) => {
    expect(await verify(row)).toMatchObject({ type: "refused", reason: "mapping-failed" });
  });
});

describe("a rule refuses", () => {
  const claimRule = (lines: string) => `  claimValidationRules:\n  - ${lines}\n`;
  const userRule = (lines: string) => `  userValidationRules:\n  - ${lines}\n`;

  it.each<readonly [string, Row, string]>([
    ["a required claim that is missing", { rest: claimRule("{claim: tenant, requiredValue: acme}") }, "claim-rule-failed"],
    [
      "a required claim of another value",
      { rest: claimRule("{claim: tenant, requiredValue: acme}"), claims: { tenant: "Acme" } },
      "claim-rule-failed",
    ],
    [
      "a required claim that is a list with the value",
      { rest: claimRule("{claim: tenant, requiredValue: acme}"), claims: { tenant: ["acme"] } },
      "claim-rule-failed",
    ],
    [
      "claims for which its expression is false",
      { rest: claimRule(`{expression: "claims.level > 3", message: too low}`), claims: { level: 3 } },
      "claim-rule-failed",
    ],
    [
      "claims for which its expression fails",
      { rest: claimRule(`{expression: "claims.level > 3", message: too low}`) },
      "claim-rule-failed",
    ],
    [
      "a user for whom its expression is false",
      { rest: userRule(`{expression: "user.username.startsWith('acme:')"}`) },
      "user-rule-failed",
    ],
    [
      "a user for whom its expression fails",
      { rest: userRule(`{expression: "user.extra['example.com/level'] == ['1']"}`) },
      "user-rule-failed",
    ],
  ])("%s", async (_name, row, reason) => {
    expect(await verify(row)).toMatchObject({ type: "refused", reason });
  });

  it("with its own words", async () => {
    const rest = claimRule(`{expression: "claims.level > 3", message: your level is too low}`);
    expect(await verify({ rest, claims: { level: 3 } })).toMatchObject({ message: "your level is too low" });
  });
});

describe("a mapping takes", () => {
  it.each<readonly [string, Row, Readonly<Record<string, unknown>>]>([
    ["one group as text", { claims: { groups: "dev" } }, { groups: ["oidc:dev"] }],
    ["no groups", { claims: { groups: undefined } }, { groups: [] }],
    ["groups that are null", { claims: { groups: null } }, { groups: [] }],
    [
      "a verified e-mail address",
      { claims: { email: "a@b.c", email_verified: true }, mappings: `    username: {claim: email, prefix: ""}` },
      { username: "a@b.c" },
    ],
    [
      "a required claim that has its value",
      { rest: "  claimValidationRules:\n  - {claim: tenant, requiredValue: acme}\n", claims: { tenant: "acme" } },
      { username: "oidc:alice" },
    ],
    [
      "rules that hold",
      { rest: `  userValidationRules:\n  - {expression: "user.username == 'oidc:alice' && 'oidc:dev' in user.groups"}\n` },
      { username: "oidc:alice" },
    ],
    [
      "an empty extra as none",
      { claims: { level: "" }, mappings: `${username}\n    extra: [{key: example.com/level, valueExpression: "claims.level"}]` },
      { extra: {} },
    ],
  ])("%s", async (_name, row, identity) => {
    expect(await verify(row)).toMatchObject({ type: "verified", identity });
  });
});
