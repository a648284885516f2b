import { describe, expect, it } from "vitest";
import { decideIdentity, type Identity, identityLimits, type IdentityRefusalReason } from "#core/access/identity.ts";

function makeIdentity(changes: Partial<Identity> = {}): Identity {
  return { username: "oidc:alice", uid: "u-1", groups: ["oidc:dev"], extra: { "example.org/team": ["infra"] }, ...changes };
}

const anyGroup = ["*"];

describe("an identity that may not be impersonated", () => {
  const rows: readonly (readonly [string, IdentityRefusalReason, Partial<Identity>])[] = [
    ["an empty username", "username-empty", { username: "" }],
    ["a blank username", "username-empty", { username: "  " }],
    ["a username of no-break spaces", "username-empty", { username: "\u00a0\u3000" }],
    ["a line feed in the username", "username-malformed", { username: "alice\nImpersonate-Group: system:masters" }],
    ["a carriage return in the username", "username-malformed", { username: "ali\rce" }],
    ["a NUL in the username", "username-malformed", { username: "ali\0ce" }],
    ["a tab in the username", "username-malformed", { username: "ali\tce" }],
    ["a DEL in the username", "username-malformed", { username: "ali\u007fce" }],
    ["U+0085 in the username", "username-malformed", { username: "ali\u0085ce" }],
    ["U+2028 in the username", "username-malformed", { username: "ali\u2028ce" }],
    ["U+2029 in the username", "username-malformed", { username: "ali\u2029ce" }],
    ["a space before the username", "username-malformed", { username: " alice" }],
    ["a space after the username", "username-malformed", { username: "alice " }],
    ["a username of 513 bytes", "username-malformed", { username: "x".repeat(513) }],
    ["a username of 513 bytes in fewer characters", "username-malformed", { username: `x${"é".repeat(256)}` }],
    ["a lone surrogate in the username", "username-malformed", { username: "ali\ud800ce" }],
    ["an admin's username", "username-reserved", { username: "system:admin" }],
    ["a ServiceAccount's username", "username-reserved", { username: "system:serviceaccount:a:default" }],
    ["a node's username", "username-reserved", { username: "system:node:a" }],
    ["the anonymous username", "username-reserved", { username: "system:anonymous" }],
    ["a line feed in the uid", "uid-malformed", { uid: "u\n1" }],
    ["a line feed in a group", "group-malformed", { groups: ["oidc:dev", "x\nImpersonate-Group: system:masters"] }],
    ["a space after a group", "group-malformed", { groups: ["dev "] }],
    ["a group of 513 bytes", "group-malformed", { groups: ["x".repeat(513)] }],
    ["the group of masters", "group-reserved", { groups: ["system:masters"] }],
    ["the group of nodes", "group-reserved", { groups: ["oidc:dev", "system:nodes"] }],
    ["the group of ServiceAccounts", "group-reserved", { groups: ["system:serviceaccounts"] }],
    ["the group of the unauthenticated", "group-reserved", { groups: ["system:unauthenticated"] }],
    ["too many groups", "groups-too-many", { groups: Array.from({ length: identityLimits.maxGroups + 1 }, (_, index) => `g${index}`) }],
    ["an extra key in upper case", "extra-malformed", { extra: { "example.org/Team": ["x"] } }],
    ["an extra key with a line feed", "extra-malformed", { extra: { "a\nb": ["x"] } }],
    ["an empty extra key", "extra-malformed", { extra: { "": ["x"] } }],
    ["a line feed in an extra value", "extra-malformed", { extra: { "example.org/team": ["x\ny"] } }],
    ["an extra value of 1025 bytes", "extra-malformed", { extra: { "example.org/team": ["x".repeat(1025)] } }],
    ["too many extra values", "extra-too-many", { extra: { "a.b/c": Array.from({ length: 65 }, () => "x") } }],
  ];

  it.each(rows)("has %s", (_, reason, changes) => {
    expect(decideIdentity(makeIdentity(changes), anyGroup)).toMatchObject({ type: "refused", reason });
  });

  it("is described without its values", () => {
    for (const [, , changes] of rows) {
      const decision = decideIdentity(makeIdentity(changes), anyGroup);
      expect(decision.type === "refused" && /alice|masters:|Impersonate/.test(decision.message)).toBe(false);
    }
  });
});

describe("an identity that may be impersonated", () => {
  it.each(["bób", "боб@пример.рф", "用户", "oidc:alice smith", "x".repeat(512), "System:admin", "a,b", "é".repeat(256)])(
    "has the username %s",
    (username) => {
      const identity = makeIdentity({ username });
      expect(decideIdentity(identity, anyGroup)).toEqual({ type: "allowed", identity, droppedGroups: 0 });
    },
  );

  it("keeps the order of its groups", () => {
    const groups = Array.from({ length: 50 }, (_, index) => `g${index}`);
    expect(decideIdentity(makeIdentity({ groups }), anyGroup)).toMatchObject({ identity: { groups }, droppedGroups: 0 });
  });

  it.each([
    ["exact names", ["oidc:dev"], ["oidc:dev"], 3],
    ["prefixes", ["oidc:*"], ["oidc:dev", "oidc:ops"], 2],
    ["both", ["oidc:dev", "git*"], ["oidc:dev", "github:x"], 2],
    ["nothing", [], [], 4],
  ])("loses the groups outside an allow-list of %s, and they are counted", (_, allowed, groups, droppedGroups) => {
    const identity = makeIdentity({ groups: ["oidc:dev", "oidc:ops", "github:x", "", "system:authenticated"] });
    expect(decideIdentity(identity, allowed)).toMatchObject({ type: "allowed", identity: { groups }, droppedGroups });
  });

  it("does not get a group because its name is a pattern", () => {
    expect(decideIdentity(makeIdentity({ groups: ["*", "dev"] }), ["dev"])).toMatchObject({
      identity: { groups: ["dev"] },
      droppedGroups: 1,
    });
  });

  it("never keeps a group that the apiserver adds itself", () => {
    const decision = decideIdentity(makeIdentity({ groups: ["system:authenticated"] }), ["*", "system:authenticated"]);
    expect(decision).toMatchObject({ identity: { groups: [] }, droppedGroups: 0 });
  });

  it("has no uid where the issuer maps none", () => {
    expect(decideIdentity(makeIdentity({ uid: "" }), anyGroup)).toMatchObject({ type: "allowed" });
  });
});
