/** A network that swallows every packet between gateway and agent: neither is told, and both must notice within twenty seconds. */
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSocket } from "#test/support/client-socket.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { acceptWebSocket, startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { startSilentNetwork } from "#test/support/silent-network.ts";
import type { SilentNetwork } from "#test/support/silent-network.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

const noticedMs = 20_000;
const pods = "/k/one/api/v1/namespaces/web/pods";

let gateway: GatewayFixture;
let cluster: ClusterFixture;
let network: SilentNetwork;
let agent: AgentFixture;
let apiserver: ScriptedApiserver;

beforeAll(async () => {
  apiserver = await startScriptedApiserver();
  gateway = await startGateway({ bundle: gatewayBundle });
  cluster = await gateway.register({ name: "one" });
  network = await startSilentNetwork(gateway.port);
  const kubeconfig = await apiserver.kubeconfig(join(gateway.folder, "kubeconfig"));
  agent = await cluster.startAgent({ kubeconfig, gatewayUrl: `https://localhost:${network.port}` });
});

afterAll(async () => {
  await apiserver.stop();
  await agent.stop("SIGKILL");
  await gateway.stop();
  await network.stop();
});

async function openExec(token: string) {
  const far = new Promise<Awaited<ReturnType<typeof acceptWebSocket>>>((resolve) => {
    apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, "v5.channel.k8s.io").then(resolve);
  });
  const client = await openSocket(gateway, `${pods}/p/exec?command=sh&stdin=true`, { token, protocols: ["v5.channel.k8s.io"] });
  return { client, far: await far };
}

async function follow(path: string, token: string): Promise<RawConnection> {
  const connection = await RawConnection.open(gateway);
  connection.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  await connection.until((received) => received.includes("first"));
  return connection;
}

test("both sides end what ran over it as each client understands it, nothing hangs, and the agent comes back when it heals", async () => {
  const ends: Promise<unknown>[] = [];
  apiserver.onRequest = (request, response) => {
    ends.push(once(request.socket, "close"));
    response.writeHead(200, { "content-type": "text/plain" });
    if (request.url?.endsWith("/silent") === true) response.flushHeaders();
    else if (request.url?.endsWith("/stuck") !== true) response.write("first\n");
  };
  const token = await cluster.token("alice");
  const { client, far } = await openExec(token);
  const watch = await follow(`${pods}?watch=1`, token);
  const logs = await follow(`${pods}/p/log?follow=true`, token);
  const pending = ask(gateway, `${pods}/stuck`, { token });
  await apiserver.whenSeen(({ target }) => target.endsWith("/stuck"));
  const hungUp = once(far, "close");
  network.fallSilent();
  const startedMs = performance.now();
  const untilNow = <Value>(value: Value) => ({ value, ms: performance.now() - startedMs });

  const atClients = await Promise.all([
    client.closed.then(untilNow),
    watch.untilClosed().then(untilNow),
    logs.untilClosed().then(untilNow),
    pending.then(untilNow),
  ]);
  const [exec, watched, logged, answer] = atClients;
  expect(exec.value.code).toBe(1000);
  expect(client.messages.at(-1)?.data.toString()).toMatch(/^.\{"kind":"Status".*"status":"Failure".*AGENT_GONE/);
  expect(watched.value).toMatch(/\r\n0\r\n\r\n$/);
  expect(logged.value).not.toMatch(/\r\n0\r\n\r\n$/);
  expect([502, 503, 504]).toContain(answer.value.status);
  const atCluster = [await hungUp.then(untilNow), await Promise.all(ends).then(untilNow)];
  expect(Math.max(...[...atClients, ...atCluster].map(({ ms }) => ms))).toBeLessThan(noticedMs + 500);

  expect(await ask(gateway, `${pods}/p`, { token })).toMatchObject({ status: 503, body: expect.stringContaining("AGENT_OFFLINE") });
  network.heal();
  apiserver.reset();
  while ((await ask(gateway, `${pods}/p`, { token })).status !== 200);
});
