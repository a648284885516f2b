/** The audit logs of gateway and agent: one line for each end of a request, whatever its client wrote, and no secret in any line. */
import { describe, expect, test } from "vitest";
import { agentToken, acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { openSocket } from "#test/support/client-socket.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();
const pod = "/api/v1/namespaces/web/pods/p";

/** The events of one request in a log, each checked to be one line of JSON. */
function events(lines: readonly string[], auditId: string): readonly Record<string, unknown>[] {
  return lines.filter((line) => line.includes(auditId)).map((line): Record<string, unknown> => JSON.parse(line));
}

/** Waits for a line of the gateway's log, which has no event of its own: workerd prints behind the answer. */
async function gatewayLine(auditId: string): Promise<void> {
  while (events(system.gateway.lines, auditId).length === 0) await ask(system.gateway, "/healthz");
}

describe("an audit event", () => {
  test("has the same id in the client's answer, both logs and the apiserver's request, and says who did what and how it ended", async () => {
    const token = await system.cluster.token("alice", { groups: ["dev"] });
    const answer = await ask(system.gateway, `/k/one${pod}?x=1`, {
      token,
      headers: { "user-agent": "kubectl/v1.34", "audit-id": "chosen-by-client" },
    });
    const auditId = String(answer.headers["audit-id"]);
    expect(system.apiserver.seen[0]?.headers).toContainEqual([expect.stringMatching(/^audit-id$/i), auditId]);
    await system.agent.waitFor(new RegExp(auditId));
    await gatewayLine(auditId);
    for (const found of [events(system.agent.lines, auditId), events(system.gateway.lines, auditId)]) {
      expect(found).toMatchObject([
        {
          ...{
            kind: "Event",
            apiVersion: "audit.k8s.io/v1",
            stage: "ResponseComplete",
            verb: "get",
            requestURI: `${pod}?x=1`,
            userAgent: "kubectl/v1.34",
          },
          objectRef: { resource: "pods", namespace: "web", name: "p", apiVersion: "v1" },
          responseStatus: { code: 200 },
          annotations: {
            "sallyport.dev/cluster": "one",
            "sallyport.dev/issuer": system.cluster.users.url,
            "sallyport.dev/decision": "carried",
          },
        },
      ]);
      expect(found[0]).toMatchObject({ user: { username: "oidc:alice" } });
    }
  });

  test.each([
    ["a path with two readings", "/k/one/api/v1/namespaces/a%2fb/pods", true, 400],
    ["no token", `/k/one${pod}`, false, 401],
    ["a cluster that is not there", `/k/none${pod}`, true, 404],
    ["headers that are too large", `/k/one${pod}`, true, 431],
  ])("of a request that the gateway refuses is found by the id in the client's answer: %s", async (_name, path, isSignedIn, code) => {
    const headers = code === 431 ? { "x-large": "x".repeat(70 << 10) } : {};
    const answer = await ask(system.gateway, path, { headers, ...(isSignedIn && { token: await system.cluster.token("alice") }) });
    const auditId = String(answer.headers["audit-id"]);
    await gatewayLine(auditId);
    expect(events(system.gateway.lines, auditId)).toMatchObject([{ kind: "Event", stage: "ResponseComplete", responseStatus: { code } }]);
  });

  test("of a stream tells its start and its end with bytes and reason", async () => {
    system.apiserver.onUpgrade = (request, socket, head) =>
      void acceptWebSocket(request, socket, head, "v5.channel.k8s.io").then((far) => far.on("message", () => far.close(1000)));
    const token = await system.cluster.token("streamer");
    const client = await openSocket(system.gateway, `/k/one${pod}/exec?command=cat`, { token, protocols: ["v5.channel.k8s.io"] });
    client.socket.send("12345");
    await client.closed;
    const auditId = String(new Map(system.apiserver.seen[0]?.headers).get("Audit-ID"));
    await system.agent.waitFor(new RegExp(`${auditId}.*ResponseComplete`));
    expect(events(system.agent.lines, auditId)).toMatchObject([
      { stage: "ResponseStarted" },
      { stage: "ResponseComplete", annotations: { "sallyport.dev/close-reason": "closed with 1000", "sallyport.dev/bytes-received": "5" } },
    ]);
  });

  test.each([
    ["a user agent with an escape sequence, quotes and 10 KiB", { "user-agent": `\u001b[31m"\\${"x".repeat(10_000)}` }, `/k/one${pod}`],
    ["a path with quotes and an escape sequence", {}, `/k/one/api/v1/namespaces/web/pods/%22%7B'`],
    ["a query with a token", {}, `/k/one${pod}?access_token=SECRETSECRET&token=SECRETSECRET`],
  ])("is one bounded line of JSON: %s", async (_name, headers, path) => {
    const answer = await ask(system.gateway, path, {
      token: await system.cluster.token("alice"),
      headers,
    }).catch(() => undefined);
    const auditId = String(answer?.headers["audit-id"]);
    if (answer?.status === 200) {
      const line = await system.agent.waitFor(new RegExp(auditId));
      // oxlint-disable-next-line no-control-regex -- controls are what is looked for
      expect(line).not.toMatch(/[\u0000-\u001f]/);
      expect(line.length).toBeLessThan(16_384);
      expect(line).not.toContain("SECRETSECRET");
    }
    for (const log of [system.agent.lines, system.gateway.lines]) for (const line of log) expect(() => void JSON.parse(line)).not.toThrow();
  });
});

describe("no log", () => {
  test("holds a token of a user or of the agent, whole or in part, after good, bad and broken requests", async () => {
    const good = await system.cluster.token("alice");
    const bad = `${good.slice(0, -4)}AAAA`;
    await ask(system.gateway, `/k/one${pod}`, { token: good, headers: { cookie: "session=SECRETCOOKIE" } });
    await ask(system.gateway, `/k/one${pod}`, { token: bad });
    system.apiserver.onRequest = (request) => void request.socket.destroy();
    const last = await ask(system.gateway, `/k/one${pod}`, { token: good, method: "POST", body: "SECRETBODY" });
    await system.agent.waitFor(new RegExp(String(last.headers["audit-id"])));
    const logs = [...system.agent.lines, ...system.gateway.lines].join("\n");
    for (const secret of [good.split(".")[1], good.split(".")[2], agentToken, "SECRETCOOKIE", "SECRETBODY"])
      expect(logs).not.toContain(secret);
  });
});
