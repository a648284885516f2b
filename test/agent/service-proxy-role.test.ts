import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { openApiservers } from "#agent/cluster-access.ts";
import { systemClock } from "#agent/clock.ts";
import type { ServiceProxyConfig } from "#agent/config/service-proxy-config.ts";
import type { ApplyOutcome, Dataplane, ServiceTable, SocketsView } from "#agent/dataplane/dataplane.ts";
import type { Plan } from "#agent/dataplane/node-plan.ts";
import type { ClusterObjects } from "#agent/dataplane/objects.ts";
import { listenHttp } from "#agent/service-proxy/http-listener.ts";
import { defaultKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { LogEvent } from "#agent/service-proxy/reporting.ts";
import { ServiceProxyRole } from "#agent/service-proxy-role.ts";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { makeTemporaryDirectory } from "./cluster/temporary-directory.ts";
import { closedPort, startTcpServer } from "./scripted-server.ts";
import { makeTable } from "./service-proxy/makers.ts";

const directory = makeTemporaryDirectory();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const web = {
  metadata: { namespace: "shop", name: "web", uid: "u1", resourceVersion: "3" },
  spec: {
    clusterIP: "10.96.0.7",
    clusterIPs: ["10.96.0.7"],
    type: "LoadBalancer",
    externalTrafficPolicy: "Local",
    healthCheckNodePort: 0,
    ports: [{ port: 80 }],
  },
};
const slice = {
  metadata: { namespace: "shop", name: "web-1", resourceVersion: "4", labels: { "kubernetes.io/service-name": "web" } },
  addressType: "IPv4",
  endpoints: [{ addresses: ["10.4.0.1"] }],
  ports: [{ port: 8080 }],
};
const node = {
  metadata: { name: "node-1", resourceVersion: "5" },
  spec: { taints: [{ key: "sallyport.dev/not-ready", effect: "NoSchedule" }] },
  status: { addresses: [{ type: "InternalIP", address: "10.1.0.1" }] },
};

interface Posted {
  readonly method: string;
  readonly target: string;
  readonly body: string;
}

/** An apiserver with a few objects, whose watches stay open. */
async function startCluster(objects: Readonly<Record<string, readonly object[]>>) {
  const server = await startScriptedApiserver();
  cleanups.push(() => server.stop());
  const watches = new Map<string, ServerResponse>();
  const posted: Posted[] = [];
  const wakes = new Set<() => void>();
  const event = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`;
  server.onRequest = (request, response) => {
    const url = new URL(request.url ?? "/", "http://apiserver");
    if (url.searchParams.get("watch") === "true") {
      const resource = url.pathname.split("/").at(-1) ?? "";
      response.writeHead(200, { "content-type": "application/json" });
      for (const object of objects[resource] ?? []) response.write(event("ADDED", object));
      response.write(event("BOOKMARK", { metadata: { resourceVersion: "10", annotations: { "k8s.io/initial-events-end": "true" } } }));
      watches.set(resource, response);
      return;
    }
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      posted.push({ method: request.method ?? "", target: url.pathname, body: Buffer.concat(parts).toString() });
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(node));
      for (const wake of wakes) wake();
    });
  };
  const path = await server.kubeconfig(`${directory.path}/kubeconfig-${server.port}`);
  const access = await openApiservers({ kubeconfig: { path, context: undefined }, apiservers: [] });
  cleanups.push(() => access.close());
  return {
    access,
    posted,
    change: (resource: string, type: string, object: object) => void watches.get(resource)?.write(event(type, object)),
    whenPosted: (fits: (request: Posted) => boolean) =>
      new Promise<Posted>((resolve) => {
        const look = () => {
          const found = posted.find(fits);
          if (found !== undefined) resolve(found);
        };
        wakes.add(look);
        look();
      }),
  };
}

interface RoleSetup {
  readonly objects?: Readonly<Record<string, readonly object[]>>;
  readonly config?: Partial<ServiceProxyConfig>;
  readonly configuration?: Partial<KubeProxyConfiguration>;
  readonly healthCheckPort?: number;
  readonly sockets?: SocketsView;
  /** Waited for before a table is applied. */
  readonly beforeApply?: (table: ServiceTable) => Promise<unknown>;
}

async function startRole({
  objects = { services: [web], endpointslices: [slice], nodes: [node] },
  config = {},
  configuration = {},
  healthCheckPort = 0,
  sockets,
  beforeApply = async () => undefined,
}: RoleSetup = {}) {
  const cluster = await startCluster(objects);
  const [healthz, metrics] = [await closedPort(), await closedPort()];
  const applied: ServiceTable[] = [];
  const planned: ClusterObjects[] = [];
  const log: LogEvent[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const run of waiting) run();
  };
  const until = (isTrue: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (isTrue()) resolve();
      };
      waiting.add(look);
      look();
    });
  const calls = { closed: 0, cleaned: 0, fatal: [] as string[] };
  const plan = (port: number): Plan => {
    const healthChecks = port === 0 ? [] : [{ namespace: "shop", name: "web", port, localReadyEndpoints: 1 }];
    return { IPv4: { table: makeTable("IPv4"), healthChecks }, IPv6: { table: makeTable("IPv6"), healthChecks: [] } };
  };
  const apply = async (table: ServiceTable): Promise<ApplyOutcome> => {
    await beforeApply(table);
    applied.push(table);
    return { type: "applied", changes: 1 };
  };
  const dataplane: Dataplane = {
    name: "userspace",
    apply,
    verify: apply,
    close: async () => void (calls.closed += 1),
    cleanup: async () => void (calls.cleaned += 1),
  };
  const full: ServiceProxyConfig = {
    role: "service-proxy",
    connection: { kubeconfig: undefined, apiservers: [] },
    configuration: {
      ...defaultKubeProxyConfiguration,
      healthz: { host: "127.0.0.1", port: healthz },
      metrics: { host: "127.0.0.1", port: metrics },
      minSyncMs: 1,
      ...configuration,
    },
    configurationFile: undefined,
    node: "node-1",
    proxyName: undefined,
    externalIps: "serve",
    strict: undefined,
    dataplane: "userspace",
    action: { type: "run" },
    startupTaint: undefined,
    sysctlFolder: directory.path,
    ...config,
  };
  const role = new ServiceProxyRole(full, cluster.access, {
    createPlanner: () => ({
      plan: (now) => {
        planned.push(now);
        wake();
        return plan(healthCheckPort);
      },
    }),
    families: ["IPv4", "IPv6"],
    dataplane,
    flows: { reconcile: async () => 0, stop: async () => undefined },
    sockets,
    render: async (table) => `table ${table.family}`,
    clock: systemClock,
    random: () => 0.5,
    listen: listenHttp,
    log: (event) => {
      log.push(event);
      wake();
    },
    onFatal: (reason) => void calls.fatal.push(reason),
  });
  cleanups.push(() => role.stop());
  return {
    role,
    cluster,
    applied,
    planned,
    log,
    calls,
    ask: (server: "healthz" | "metrics", path: string) => fetch(`http://127.0.0.1:${server === "healthz" ? healthz : metrics}${path}`),
    until,
    whenLogged: (event: string) => until(() => log.some((line) => line.event === event)),
  };
}

describe("the role service-proxy", () => {
  it("reads the cluster, applies both families, and says so to all who ask", async () => {
    const made = await startRole({ configuration: { unused: ["oomScoreAdj", "ipvs.strictARP"] } });
    expect(made.role.state).toMatchObject({ state: "starting", generation: 0, services: 0 });
    await made.role.start();
    await made.whenLogged("synced");
    expect(made.applied.map(({ family }) => family)).toEqual(["IPv4", "IPv6"]);
    expect([made.planned[0]?.services.size, made.planned[0]?.node.internalIps]).toEqual([1, ["10.1.0.1"]]);
    expect(made.log[0]).toEqual({ event: "configuration", message: "fields that have no meaning here: oomScoreAdj, ipvs.strictARP" });
    expect(made.role.state).toMatchObject({ node: "node-1", dataplane: "userspace", services: 1, endpointSlices: 1, lostEvents: 0 });
    expect([(await made.ask("healthz", "/healthz")).status, (await made.ask("healthz", "/livez")).status]).toEqual([200, 200]);
    expect(await (await made.ask("metrics", "/proxyMode")).text()).toBe("userspace");
    const metrics = await (await made.ask("metrics", "/metrics")).text();
    expect(metrics).toContain('kubeproxy_proxy_healthz_total{code="200"} 1');
    expect(metrics).toMatch(/^process_resident_memory_bytes \d+$/m);
  });

  it("tells what its sockets do, where it has any", async () => {
    const counts = { connections: 3, active: 0, bytesFromClients: 0, bytesToClients: 0, refused: 0, failovers: 0 };
    const states = { listening: 2, closed: 0, failed: 0 };
    const group = { family: "IPv4", kind: "localhostNodePort", protocol: "TCP", states, bindFailures: 0, counts } as const;
    const made = await startRole({ sockets: { groups: () => [group], failed: () => [] } });
    await made.role.start();
    await made.whenLogged("synced");
    const metrics = await (await made.ask("metrics", "/metrics")).text();
    expect(metrics).toContain('kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv4"} 2\n');
    expect(metrics).toContain("kubeproxy_iptables_localhost_nodeports_accepted_packets_total 3\n");
  });

  it("follows its node: load balancers are told to stay away from one that goes", async () => {
    const made = await startRole();
    await made.role.start();
    await made.whenLogged("synced");
    const before = made.planned.length;
    made.cluster.change("nodes", "MODIFIED", {
      ...node,
      metadata: { ...node.metadata, resourceVersion: "11", deletionTimestamp: "2026-11-24T05:00:00Z" },
    });
    await made.until(() => made.planned.length > before);
    expect([(await made.ask("healthz", "/healthz")).status, (await made.ask("healthz", "/livez")).status]).toEqual([503, 200]);
  });

  it("removes the startup taint once both families have their rules", async () => {
    const reached = Promise.withResolvers<undefined>();
    const allowed = Promise.withResolvers<undefined>();
    const made = await startRole({
      config: { startupTaint: "sallyport.dev/not-ready" },
      beforeApply: async ({ family }) => {
        if (family === "IPv4") return;
        reached.resolve(undefined);
        await allowed.promise;
      },
    });
    await made.role.start();
    await reached.promise;
    // By the time that two answers are here, a removal that began too early has been asked for.
    for (const path of ["/healthz", "/livez"]) await made.ask("healthz", path);
    expect(made.cluster.posted).toEqual([]);
    allowed.resolve(undefined);
    expect(await made.cluster.whenPosted(({ method }) => method === "PATCH")).toMatchObject({ target: "/api/v1/nodes/node-1" });
  });

  it("serves health check node ports, and warns of one that is taken", async () => {
    const taken = await startTcpServer(() => undefined);
    cleanups.push(() => taken.close());
    const made = await startRole({
      healthCheckPort: taken.port,
      configuration: { nodePorts: { type: "cidrs", cidrs: ["127.0.0.1/32", "::1/128"] } },
    });
    await made.role.start();
    const event = await made.cluster.whenPosted(({ target }) => target.endsWith("/events"));
    expect([event.target, JSON.parse(event.body)]).toEqual([
      "/apis/events.k8s.io/v1/namespaces/shop/events",
      expect.objectContaining({
        type: "Warning",
        reason: "FailedToStartServiceHealthcheck",
        regarding: { apiVersion: "v1", kind: "Service", namespace: "shop", name: "web", uid: "u1" },
        note: expect.stringContaining(`node node-1 failed to start healthcheck "shop/web" on port ${taken.port}: `),
      }),
    ]);
  });

  it("plans without an endpoint that strict mode does not believe, and warns at its Service", async () => {
    const bad = { ...slice, endpoints: [{ addresses: ["127.0.0.1"] }, { addresses: ["10.4.0.1"] }] };
    const made = await startRole({
      objects: { services: [web], endpointslices: [bad], nodes: [node] },
      config: { strict: { loadBalancerRanges: [] } },
    });
    await made.role.start();
    const event = await made.cluster.whenPosted(({ target }) => target.endsWith("/events"));
    expect(JSON.parse(event.body)).toMatchObject({
      type: "Warning",
      reason: "EndpointsIgnored",
      regarding: { kind: "Service", namespace: "shop", name: "web", uid: "u1" },
      note: expect.stringContaining("node node-1 ignores endpoints (strict mode): 127.0.0.1, because"),
    });
    const slices = [...(made.planned[0]?.slices.get("shop/web")?.values() ?? [])];
    expect(slices.flatMap(({ endpoints }) => endpoints.map(({ address }) => address))).toEqual(["10.4.0.1"]);
  });

  it("shows what it would do and does nothing, for a dry run", async () => {
    const made = await startRole({ config: { action: { type: "dryRun" } } });
    expect(await made.role.describe()).toBe("table IPv4\ntable IPv6");
    expect(made.applied).toEqual([]);
  });

  it("explains a Service and does nothing, for a trace", async () => {
    const target = { namespace: "shop", name: "web", port: undefined };
    const made = await startRole({ config: { action: { type: "trace", target, connections: false } } });
    expect(await made.role.trace(target)).toMatch(/^Service shop\/web \(\w+\), on node node-1 /);
    expect(await made.role.trace({ ...target, name: "other" })).toMatch(/^shop\/other: nothing is done for it/);
    expect([made.applied, made.planned.length]).toEqual([[], 2]);
  });

  it("stops with its rules in place", async () => {
    const made = await startRole();
    await made.role.start();
    await made.whenLogged("synced");
    await made.role.stop();
    expect(made.calls).toEqual({ closed: 1, cleaned: 0, fatal: [] });
    await expect(made.ask("healthz", "/healthz")).rejects.toThrow();
  });

  it("ends where the file says so because an address is taken", async () => {
    const taken = await startTcpServer(() => undefined);
    cleanups.push(() => taken.close());
    const made = await startRole({ configuration: { bindAddressHardFail: true, healthz: { host: "127.0.0.1", port: taken.port } } });
    await made.role.start();
    expect([made.calls.fatal, made.log.map(({ event }) => event)]).toEqual([
      ["bindAddressHardFail is set, and an address cannot be listened at"],
      expect.arrayContaining(["not-listening"]),
    ]);
  });
});
