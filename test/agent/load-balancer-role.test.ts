/** The role as it is put together: nothing is written before the cluster is known and the Lease is this replica's. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "#agent/clock.ts";
import { openApiservers } from "#agent/cluster-access.ts";
import type { ApiserverAccess } from "#agent/cluster-access.ts";
import { readConfig } from "#agent/config.ts";
import { LoadBalancerRole } from "#agent/load-balancer-role.ts";
import type { Answer } from "#agent/service-proxy/http-listener.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { makeTemporaryDirectory } from "./cluster/temporary-directory.ts";
import { rawNode, rawService } from "./load-balancer/makers.ts";

const directory = makeTemporaryDirectory();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

type Resource = "services" | "nodes" | "endpointslices";

const leaseTarget = "/apis/coordination.k8s.io/v1/namespaces/sallyport-load-balancer/leases";

/** An apiserver with a Service and a node; what a test holds back comes with `release`. */
async function startCluster(held: readonly (Resource | "lease")[]) {
  const server = await startScriptedApiserver();
  cleanups.push(() => server.stop());
  const objects: Readonly<Record<Resource, readonly JsonObject[]>> = { services: [rawService()], nodes: [rawNode(1)], endpointslices: [] };
  const released = new Map(held.map((name) => [name, Promise.withResolvers<void>()]));
  const writes: string[] = [];
  const wakes = new Set<() => void>();
  const note = (text: string) => {
    writes.push(text);
    for (const wake of wakes) wake();
  };
  let lease: JsonObject | undefined;
  const watch = async (resource: Resource, response: ServerResponse) => {
    await released.get(resource)?.promise;
    const events = [
      ...objects[resource].map((object) => ({ type: "ADDED", object })),
      { type: "BOOKMARK", object: { metadata: { resourceVersion: "10", annotations: { "k8s.io/initial-events-end": "true" } } } },
    ];
    response.writeHead(200, { "content-type": "application/json" });
    response.write(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  };
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? "/", "http://apiserver");
    if (url.searchParams.get("watch") === "true") return watch(url.pathname.split("/").at(-1) as Resource, response); // these three are watched
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer); // a request's parts are bytes
    const body = parts.length === 0 ? {} : (JSON.parse(Buffer.concat(parts).toString()) as JsonObject); // the role writes objects
    const send = (status: number, object: unknown) => void response.writeHead(status).end(JSON.stringify(object));
    if (url.pathname.startsWith(leaseTarget)) {
      await released.get("lease")?.promise;
      if (request.method === "GET" && lease === undefined) return send(404, { reason: "NotFound" });
      if (request.method !== "GET") lease = body;
      return send(200, lease);
    }
    note(`${request.method ?? ""} ${url.pathname}`);
    return send(200, { metadata: { resourceVersion: "11" } });
  };
  server.onRequest = (request, response) => void answer(request, response);
  const path = await server.kubeconfig(`${directory.path}/kubeconfig-${server.port}`);
  const access = await openApiservers({ kubeconfig: { path, context: undefined }, apiservers: [] });
  cleanups.push(() => access.close());
  return {
    access,
    writes,
    lease: () => lease,
    release: (name: Resource | "lease") => released.get(name)?.resolve(),
    whenWritten: (fits: (text: string) => boolean) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (writes.some(fits)) resolve();
        };
        wakes.add(look);
        look();
      }),
  };
}

async function startRole(held: readonly (Resource | "lease")[] = []) {
  const cluster = await startCluster(held);
  const names = { environment: {}, random: () => "replica-1", hostname: "host" };
  const read = readConfig(["--roles=load-balancer", "--listen=127.0.0.1:0"], names);
  if (read.type !== "config" || read.config.role !== "load-balancer") throw new Error("the configuration is one");
  const answers: Answer[] = [];
  const log: object[] = [];
  const logged = new Set<() => void>();
  const role = new LoadBalancerRole(read.config, cluster.access, {
    clusterId: "cluster-1",
    clock: systemClock,
    random: Math.random,
    listen: async (_target, answer) => {
      answers.push(answer);
      return { close: async () => undefined };
    },
    log: (event) => {
      log.push(event);
      for (const wake of logged) wake();
    },
    onFatal: () => undefined,
  });
  cleanups.push(() => role.stop());
  const whenLeading = () =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (log.some((event) => "event" in event && event.event === "leading")) resolve();
      };
      logged.add(look);
      look();
    });
  return { ...cluster, role, whenLeading, ask: (path: string) => answers[0]?.(path) };
}

/** Three answers of the apiserver: what the role had sent before the first question has come by then. */
async function ask3({ api }: Pick<ApiserverAccess, "api">): Promise<void> {
  for (let count = 0; count < 3; count += 1) await api.get("/version");
}

const isStatusPatch = (text: string) => text === "PATCH /api/v1/namespaces/shop/services/web/status";

describe("the role load-balancer", () => {
  it("gives a Service its address, says so, and gives the Lease back at its end", async () => {
    const { role, writes, whenWritten, lease } = await startRole();
    await role.start();
    await whenWritten((text) => isStatusPatch(text) && writes.filter(isStatusPatch).length === 2);
    expect(writes.filter((text) => text.endsWith("/events")).length).toBeGreaterThan(0);
    expect(lease()).toMatchObject({ spec: { holderIdentity: "replica-1" } });
    await role.stop();
    expect(lease()).toMatchObject({ spec: { holderIdentity: "" } });
  });

  it.each(["services", "nodes", "endpointslices"] as const)("writes nothing before all %s are known", async (resource) => {
    const { role, access, writes, whenWritten, whenLeading, release } = await startRole([resource]);
    await role.start();
    await whenLeading();
    await ask3(access);
    expect(writes.filter((text) => !text.endsWith("/version"))).toEqual([]);
    release(resource);
    await whenWritten(isStatusPatch);
  });

  it("writes nothing before the Lease is its own", async () => {
    const { role, access, writes, whenWritten, release, ask } = await startRole(["lease"]);
    await role.start();
    const isKnown = () => /_services\{state="pending"\} 1/.test(ask("/metrics")?.body ?? "");
    while (!isKnown()) await new Promise((resolve) => setImmediate(resolve));
    await ask3(access);
    expect(writes.filter((text) => !text.endsWith("/version"))).toEqual([]);
    expect(ask("/metrics")?.body).toContain("sallyport_load_balancer_leader 0");
    release("lease");
    await whenWritten(isStatusPatch);
  });

  it("answers health checks and metrics, and nothing else", async () => {
    const { role, ask } = await startRole();
    await role.start();
    expect([ask("/healthz")?.status, ask("/metrics")?.status, ask("/")?.status]).toEqual([200, 200, 404]);
    expect(ask("/metrics")?.body).toContain("service_controller_loadbalancer_sync_total 0");
  });

  it("says what it would do, and changes nothing", async () => {
    const { role, writes, lease } = await startRole();
    expect(await role.describe()).toBe("node-ip: 1 of 1 nodes\nshop/web: change nothing to 10.0.0.1");
    expect([writes, lease()]).toEqual([[], undefined]);
  });
});
