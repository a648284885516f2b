/** Reading a real apiserver: nothing missed, nothing kept that is gone, whatever happens to the apiservers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isObject, listField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { keyOf } from "#agent/cluster/resource-copy.ts";
import { reduceEndpointSlice, reduceService } from "#agent/cluster/service-objects.ts";
import type { Apiserver, Cluster } from "#test/cluster/harness/cluster.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import { startReading } from "./reading.ts";
import type { TestReading } from "./reading.ts";

const namespace = "/api/v1/namespaces/default";
const sliceNamespace = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

function makeService(name: string, fields: JsonObject = {}, labels: JsonObject = {}): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, labels },
    spec: { ports: [{ name: "http", port: 80, targetPort: 8080 }], ...fields },
  };
}

function makeSlice(name: string, service: string, address: string): JsonObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    endpoints: [{ addresses: [address] }],
    ports: [{ name: "http", port: 8080 }],
  };
}

async function send(server: Apiserver, method: "POST" | "PATCH" | "DELETE", path: string, body?: JsonObject): Promise<void> {
  const contentType = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const answer = await server.ask({ method, path, contentType, ...(body !== undefined && { body }) });
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 300)}`);
}

/** Does many things, some at a time. */
async function each<Item>(items: readonly Item[], act: (item: Item) => Promise<void>): Promise<void> {
  const queue = [...items];
  const work = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await act(item);
  };
  await Promise.all(Array.from({ length: 16 }, work));
}

async function listItems(server: Apiserver, path: string): Promise<readonly JsonObject[]> {
  const list: unknown = JSON.parse((await server.ask({ path })).text);
  return isObject(list) ? listField(list, "items").filter(isObject) : [];
}

/** What the cluster has, read at once and reduced as the reader does. */
async function readDirectly(server: Apiserver): Promise<{ readonly services: unknown; readonly slices: unknown }> {
  const services = await listItems(server, "/api/v1/services?labelSelector=!service.kubernetes.io/service-proxy-name");
  const slices = await listItems(server, "/apis/discovery.k8s.io/v1/endpointslices");
  const reduced = (objects: readonly JsonObject[], reduce: (object: JsonObject) => unknown) =>
    Object.fromEntries(objects.map((object) => [keyOf(object), reduce(object)] as const).filter(([, value]) => value !== undefined));
  return { services: reduced(services, reduceService), slices: reduced(slices, reduceEndpointSlice) };
}

function readByWatching({ reading }: TestReading): { readonly services: unknown; readonly slices: unknown } {
  const { services, slices } = reading.store.objects;
  return { services: Object.fromEntries(services), slices: Object.fromEntries([...slices.values()].flatMap((of) => [...of])) };
}

/** Writes one last Service and waits until it is seen: then everything before it is. */
async function settle(made: TestReading, server: Apiserver, name: string): Promise<void> {
  await send(server, "POST", `${namespace}/services`, makeService(name));
  await send(server, "POST", sliceNamespace, makeSlice(`${name}-1`, name, "10.9.9.9"));
  const { objects } = made.reading.store;
  await made.until(() => objects.services.has(`default/${name}`) && objects.slices.has(`default/${name}`));
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

describe("with two apiservers that know watch-lists", () => {
  let cluster: Cluster;
  let made: TestReading;
  let first: Apiserver;
  let second: Apiserver;

  beforeAll(async () => {
    cluster = await startCluster({ nodes: 0, apiservers: 2 });
    [first, second] = cluster.apiservers as [Apiserver, Apiserver]; // two, as asked for
    await each(numbers(600), async (number) => send(first, "POST", `${namespace}/services`, makeService(`s${number}`)));
    await each(numbers(100), async (number) => send(first, "POST", sliceNamespace, makeSlice(`s${number}-1`, `s${number}`, "10.0.0.1")));
    made = await startReading(cluster);
    await made.until(() => made.reading.isSynced);
  });

  afterAll(async () => {
    await made.stop();
    await cluster.stop();
  });

  test("everything is there once the reader is synced", async () => {
    expect(readByWatching(made)).toEqual(await readDirectly(first));
    expect(made.reading.state).toMatchObject({ services: { count: 601, trouble: undefined }, servicecidrs: { isSynced: true } });
    expect(made.reading.store.objects.serviceCidrs).toEqual(["10.96.0.0/16"]);
    expect(made.troubles).toEqual([]);
  });

  test("changes and removals come through, and those of one kind in the order in which they were made", async () => {
    await each(numbers(50), async (number) => {
      await send(first, "PATCH", `${namespace}/services/s${number}`, { spec: { internalTrafficPolicy: "Local" } });
      if (number % 2 === 0) await send(first, "DELETE", `${namespace}/services/s${number}`);
    });
    await settle(made, first, "after-changes");
    expect(readByWatching(made)).toEqual(await readDirectly(first));
    expect(made.reading.store.objects.services.has("default/s0")).toBe(false);
    expect(made.reading.store.objects.services.get("default/s1")?.internalTrafficPolicy).toBe("Local");
  });

  test("Services of other proxies, headless ones and names elsewhere are left out, and come and go with their labels", async () => {
    const label = { "service.kubernetes.io/service-proxy-name": "other" };
    await send(first, "POST", `${namespace}/services`, makeService("others", {}, label));
    await send(first, "POST", `${namespace}/services`, makeService("headless", { clusterIP: "None" }));
    await send(first, "POST", `${namespace}/services`, makeService("elsewhere", { type: "ExternalName", externalName: "example.com" }));
    await settle(made, first, "after-kinds");
    const { services } = made.reading.store.objects;
    expect(["others", "headless", "elsewhere"].filter((name) => services.has(`default/${name}`))).toEqual([]);
    const relabel = async (value: string | null) =>
      send(first, "PATCH", `${namespace}/services/others`, { metadata: { labels: { "service.kubernetes.io/service-proxy-name": value } } });
    await relabel(null);
    await made.until(() => services.has("default/others"));
    await relabel("other");
    await made.until(() => !services.has("default/others"));
    await send(first, "PATCH", `${namespace}/services/s1`, {
      spec: { type: "ExternalName", externalName: "example.com", clusterIP: "", clusterIPs: null },
    });
    await made.until(() => !services.has("default/s1"));
  });

  test("a reader with a proxy's name reads that proxy's Services", async () => {
    await using named = { ...(await startReading(cluster, { proxyName: "other" })), [Symbol.asyncDispose]: async () => named.stop() };
    await named.until(() => named.reading.isSynced);
    expect([...named.reading.store.objects.services.keys()]).toEqual(["default/others"]);
  });

  test("nothing is missed while apiservers end and come back under changes, and nothing is forgotten while all are away", async () => {
    const before = made.reading.store.objects.services.size;
    await second.kill();
    await each(numbers(100), async (number) => send(first, "POST", `${namespace}/services`, makeService(`t${number}`)));
    await second.restart();
    await first.kill();
    await each(numbers(100), async (number) => send(second, "DELETE", `${namespace}/services/t${number}`));
    await second.kill();
    await made.until(() => made.troubles.length > 0);
    expect([made.reading.isSynced, made.reading.store.objects.services.size >= before]).toEqual([true, true]);
    await Promise.all([first.restart(), second.restart()]);
    await settle(made, first, "after-outage");
    expect(readByWatching(made)).toEqual(await readDirectly(first));
  });
});

describe("with an apiserver that does not know watch-lists", () => {
  test("lists come in pages, and then changes", async () => {
    await using cluster = await startCluster({ nodes: 0, apiservers: 1, apiserverFlags: ["--feature-gates=WatchList=false"] });
    const [server] = cluster.apiservers as [Apiserver]; // one, as asked for
    await each(numbers(600), async (number) => send(server, "POST", `${namespace}/services`, makeService(`s${number}`)));
    await using made = { ...(await startReading(cluster)), [Symbol.asyncDispose]: async () => made.stop() };
    await made.until(() => made.reading.isSynced);
    expect(readByWatching(made)).toEqual(await readDirectly(server));
    await send(server, "DELETE", `${namespace}/services/s7`);
    await settle(made, server, "last");
    expect(readByWatching(made)).toEqual(await readDirectly(server));
    expect(made.troubles).toEqual([]);
  });
});

/** Nodes are objects like others where no kubelet runs. */
describe("the node", () => {
  test("is read with its addresses, zone and wish for traffic", async () => {
    await using cluster = await startCluster({ nodes: 0, apiservers: 1 });
    const [server] = cluster.apiservers as [Apiserver]; // one, as asked for
    await using made = { ...(await startReading(cluster)), [Symbol.asyncDispose]: async () => made.stop() };
    await made.until(() => made.reading.isSynced);
    expect(made.reading.store.node).toBeUndefined();
    const labels = { "topology.kubernetes.io/zone": "a" };
    await send(server, "POST", "/api/v1/nodes", {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node-1", labels },
      spec: { podCIDR: "10.4.0.0/24", podCIDRs: ["10.4.0.0/24"] },
    });
    await send(server, "POST", "/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata: { name: "node-2" } });
    const addresses = [{ type: "InternalIP", address: "10.1.0.1" }];
    await send(server, "PATCH", "/api/v1/nodes/node-1/status", { status: { addresses } });
    await made.until(() => made.reading.store.node?.internalIps.length === 1);
    expect(made.reading.store.node).toMatchObject({ name: "node-1", zone: "a", podCidrs: ["10.4.0.0/24"], isEligible: true });
    const taints = [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }];
    await send(server, "PATCH", "/api/v1/nodes/node-1", { spec: { taints } });
    await made.until(() => made.reading.store.node?.isEligible === false);
  });
});
