/** What a token's claims become at the apiserver: exactly what they say, or nothing at all. The cluster here maps claims without a prefix. */
import { describe, expect, test } from "vitest";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({
  cluster: {
    configuration: (issuer, audience) => `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: { url: "${issuer}", audiences: ["${audience}"] }
  claimMappings:
    username: { claim: name, prefix: "" }
    groups: { claim: groups, prefix: "" }
`,
  },
  agentArguments: ["--allow-group", "team-*", "--allow-group", "admins"],
});

const path = "/k/one/api/v1/namespaces/web/pods/p";

async function askWith(claims: Readonly<Record<string, unknown>>) {
  return ask(system.gateway, path, { token: await system.cluster.token("subject", claims) });
}

function identity(): readonly (readonly [string, string])[] {
  return (system.apiserver.seen[0]?.headers ?? []).filter(([name]) => name.startsWith("Impersonate-"));
}

describe("a username claim", () => {
  test.each([
    ["missing", undefined],
    ["empty", ""],
    ["blank", "  "],
    ["null", null],
    ["a number", 7],
    ["a list", ["alice"]],
    ["an object", { name: "alice" }],
    ["with a line feed", "alice\nImpersonate-Group: system:masters"],
    ["with a carriage return", "alice\rx"],
    ["with a NUL", "alice\0"],
    ["with a tab", "al\tice"],
    ["with U+0085", "al\u0085ice"],
    ["with U+2028", "al\u2028ice"],
    ["with a space before", " alice"],
    ["with a space behind", "alice "],
    ["of more than 512 bytes", "a".repeat(513)],
    ["of the cluster's own admin", "system:admin"],
    ["of a node", "system:node:n1"],
    ["of a ServiceAccount", "system:serviceaccount:kube-system:default"],
    ["of nobody", "system:anonymous"],
  ])("that is %s lets nobody in, and the apiserver hears nothing", async (_name, name) => {
    const answer = await askWith({ name });
    expect([401, 403]).toContain(answer.status);
    expect(JSON.parse(answer.body)).toMatchObject({ kind: "Status", status: "Failure" });
    expect(system.apiserver.seen).toEqual([]);
    expect(system.apiserver.bytes()).not.toContain("Impersonate-");
  });

  test.each([
    ["a token of a ServiceAccount whose name the cluster would take for its own", { name: "system:kube-scheduler" }],
    ["a group of the cluster's admins", { name: "alice", groups: ["team-a", "system:masters"] }],
    ["a group of nodes", { name: "alice", groups: ["system:nodes"] }],
  ])("is refused, and the refusal is in the agent's log: %s", async (_name, claims) => {
    const answer = await askWith(claims);
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.body).details.causes[0].reason).toBe("IDENTITY_REFUSED");
    const auditId = String(answer.headers["audit-id"]);
    expect(JSON.parse(await system.agent.waitFor(new RegExp(auditId)))).toMatchObject({
      responseStatus: { code: 403 },
      annotations: { "sallyport.dev/decision": "refused", "sallyport.dev/close-reason": "IDENTITY_REFUSED" },
    });
    expect(system.apiserver.seen).toEqual([]);
  });
});

describe("a groups claim", () => {
  test.each([
    ["missing", undefined, []],
    ["one name as text", "team-a", ["team-a"]],
    ["with groups that this cluster does not allow", ["team-a", "other", "admins", "admins2"], ["team-a", "admins"]],
    ["with the group of everybody", ["system:authenticated", "team-a"], ["team-a"]],
    ["with a comma in a name", ["team-a, system:masters"], ["team-a, system:masters"]],
  ])("that is %s gives exactly the allowed groups", async (_name, groups, expected) => {
    const answer = await askWith({ name: "alice", groups });
    expect(answer.status).toBe(200);
    expect(identity()).toEqual([["Impersonate-User", "alice"], ...expected.map((group) => ["Impersonate-Group", group])]);
  });

  test.each([
    ["a number", 7],
    ["nested", [["team-a"], { name: "team-b" }]],
    ["of 2,000 names", Array.from({ length: 2_000 }, (_, index) => `${index}`)],
    ["of more allowed names than can be carried", Array.from({ length: 251 }, (_, index) => `team-${index}`)],
    ["with a line feed in a name", ["team-a\nImpersonate-Group: system:masters"]],
  ])("that is %s lets nobody in", async (_name, groups) => {
    const answer = await askWith({ name: "alice", groups });
    expect([401, 403]).toContain(answer.status);
    expect(system.apiserver.seen).toEqual([]);
  });
});
