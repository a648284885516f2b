/** Two clusters on one gateway stay apart; an absent agent is told plainly, with discovery from its last real answers; cuts heal. */
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openSocket } from "#test/support/client-socket.ts";
import { acceptWebSocket, startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

interface Side {
  readonly cluster: ClusterFixture;
  readonly apiserver: ScriptedApiserver;
  readonly kubeconfig: string;
  agent: AgentFixture;
}

let gateway: GatewayFixture;
let one: Side;
let two: Side;

async function startSide(name: string): Promise<Side> {
  const cluster = await gateway.register({ name });
  const apiserver = await startScriptedApiserver();
  const kubeconfig = await apiserver.kubeconfig(join(gateway.folder, `kubeconfig-${name}`));
  return { cluster, apiserver, kubeconfig, agent: await cluster.startAgent({ kubeconfig }) };
}

beforeAll(async () => {
  gateway = await startGateway({ bundle: gatewayBundle });
  [one, two] = await Promise.all([startSide("one"), startSide("two")]);
});

beforeEach(() => {
  one.apiserver.reset();
  two.apiserver.reset();
});

afterAll(async () => {
  await Promise.all([one, two].map(async ({ agent, apiserver }) => [await agent.stop("SIGKILL"), await apiserver.stop()]));
  await gateway.stop();
});

const pod = "/api/v1/namespaces/web/pods/p";

describe("two clusters on one gateway", () => {
  test.each([
    ["by path", `/k/two${pod}`, undefined],
    ["by host", pod, "two.k8s.localhost"],
  ])("do not take each other's tokens: %s", async (_name, path, host) => {
    const token = await one.cluster.token("alice");
    const answer = await ask(gateway, path, { token, ...(host !== undefined && { host }) });
    expect(answer.status).toBe(401);
    expect([...one.apiserver.seen, ...two.apiserver.seen]).toEqual([]);
  });

  test("answer their own users only, however requests interleave", async () => {
    for (const side of [one, two]) {
      side.apiserver.onRequest = (request, response) =>
        void response.end(`${side.cluster.name} ${String(request.headers["impersonate-user"])} ${String(request.url)}`);
    }
    const requests = Array.from({ length: 60 }, async (_, index) => {
      const { cluster } = index % 2 === 0 ? one : two;
      const answer = await ask(gateway, `/k/${cluster.name}${pod}?n=${index}`, { token: await cluster.token(`user-${index}`) });
      return [answer.body, `${cluster.name} oidc:user-${index} ${pod}?n=${index}`];
    });
    for (const [body, expected] of await Promise.all(requests)) expect(body).toBe(expected);
  });

  test("keep an open stream when the other's agent dies", async () => {
    one.apiserver.onUpgrade = (request, socket, head) =>
      void acceptWebSocket(request, socket, head, "v5.channel.k8s.io").then((far) => far.on("message", (data) => far.send(data)));
    const client = await openSocket(gateway, `/k/one${pod}/exec?command=cat`, {
      token: await one.cluster.token("alice"),
      protocols: ["v5.channel.k8s.io"],
    });
    await two.agent.stop("SIGKILL");
    client.socket.send(Buffer.from("still here"));
    expect((await client.received(1))[0]?.data.toString()).toBe("still here");
    client.socket.terminate();
    two.agent = await two.cluster.startAgent({ kubeconfig: two.kubeconfig });
  });

  test("may not share an audience unless somebody says so", async () => {
    await expect(gateway.register({ name: "three", audience: one.cluster.audience })).rejects.toThrow(/audience/);
  });
});

describe("a cluster whose agent is away", () => {
  const discovery = "/k/two/apis";
  const accept = { accept: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" };

  test("says so without Retry-After, and still has its last discovery for those who are signed in", async () => {
    const token = await two.cluster.token("alice");
    two.apiserver.onRequest = (_request, response) =>
      void response.writeHead(200, { "content-type": "application/json" }).end('{"kind":"APIGroupDiscoveryList"}');
    const live = await ask(gateway, discovery, { token, headers: accept });
    expect(live.body).toBe('{"kind":"APIGroupDiscoveryList"}');
    await two.agent.stop("SIGKILL");
    const offline = await ask(gateway, `/k/two${pod}`, { token });
    expect(offline.status).toBe(503);
    expect(offline.headers["retry-after"]).toBeUndefined();
    expect(JSON.parse(offline.body)).toMatchObject({ kind: "Status", details: { causes: [{ reason: "AGENT_OFFLINE" }] } });
    const stored = await ask(gateway, discovery, { token, headers: accept });
    expect(stored).toMatchObject({ status: 200, body: live.body });
    expect(stored.headers["warning"]).toMatch(/AGENT_OFFLINE/);
    expect((await ask(gateway, discovery, { headers: accept })).status).toBe(401);
    expect((await ask(gateway, discovery, { token: await one.cluster.token("alice"), headers: accept })).status).toBe(401);
    two.agent = await two.cluster.startAgent({ kubeconfig: two.kubeconfig });
  });

  test("ends the streams that it had, and says why", async () => {
    two.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, "v5.channel.k8s.io");
    const client = await openSocket(gateway, `/k/two${pod}/exec?command=cat`, {
      token: await two.cluster.token("alice"),
      protocols: ["v5.channel.k8s.io"],
    });
    await two.agent.stop("SIGKILL");
    await client.closed;
    expect(JSON.parse(client.messages.at(-1)?.data.subarray(1).toString() ?? "")).toMatchObject({
      status: "Failure",
      details: { causes: [{ reason: "AGENT_GONE" }] },
    });
    two.agent = await two.cluster.startAgent({ kubeconfig: two.kubeconfig });
  });
});

describe("replicas of an agent", () => {
  test("hand over: one that stops finishes what it began, and no request fails", async () => {
    const second = await one.cluster.startAgent({ kubeconfig: one.kubeconfig, replica: "replica-2" });
    const token = await one.cluster.token("alice");
    const held: (() => void)[] = [];
    one.apiserver.onRequest = (_request, response) => void held.push(() => response.end("{}"));
    const running = Array.from({ length: 10 }, async () => ask(gateway, `/k/one${pod}`, { token }));
    await one.apiserver.whenSeen(() => one.apiserver.seen.length === running.length);
    const stopped = one.agent.stop("SIGTERM");
    await one.agent.waitFor(/"event":"stopping"/);
    one.apiserver.onRequest = (_request, response) => void response.end("new");
    const fresh = await Promise.all(Array.from({ length: 10 }, async () => ask(gateway, `/k/one${pod}`, { token })));
    expect(fresh.map(({ body }) => body)).toEqual(fresh.map(() => "new"));
    for (const finish of held) finish();
    expect((await Promise.all(running)).map(({ status, body }) => [status, body])).toEqual(running.map(() => [200, "{}"]));
    await stopped;
    one.agent = second;
  });

  test("survive twenty cuts of their tunnel, and no POST is sent twice", async () => {
    const token = await one.cluster.token("alice");
    const effects = new Map<string, number>();
    one.apiserver.onRequest = (request, response) => {
      effects.set(String(request.url), (effects.get(String(request.url)) ?? 0) + 1);
      response.writeHead(201).end("{}");
    };
    const outcomes: [string, number][] = [];
    for (let cut = 0; cut < 20; cut++) {
      const targets = Array.from({ length: 5 }, (_, index) => `/api/v1/namespaces/web/pods?n=${cut}-${index}`);
      const posts = targets.map(
        async (target) =>
          [target, (await ask(gateway, `/k/one${target}`, { method: "POST", token, body: "{}" })).status] as [string, number],
      );
      await one.agent.stop("SIGKILL");
      outcomes.push(...(await Promise.all(posts)));
      one.agent = await one.cluster.startAgent({ kubeconfig: one.kubeconfig });
      expect((await ask(gateway, `/k/one${pod}`, { token })).status).toBe(201);
    }
    for (const [target, status] of outcomes) {
      expect(effects.get(target) ?? 0).toBeLessThanOrEqual(1);
      if (status === 201) expect(effects.get(target)).toBe(1);
    }
  });
});
