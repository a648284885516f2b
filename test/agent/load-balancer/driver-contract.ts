/** What every driver does, whatever its provider. */
import { describe, expect, it } from "vitest";
import type { ClusterStore } from "#agent/load-balancer/cluster-store.ts";
import type { LoadBalancerDriver, WantedLoadBalancer } from "#agent/load-balancer/driver.ts";
import { selectNodes } from "#agent/load-balancer/nodes.ts";
import { planLoadBalancer } from "#agent/load-balancer/plan.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { makeStore, rawNode, rawService } from "./makers.ts";

/** A driver and what its provider has. */
export interface DriverBench {
  readonly driver: LoadBalancerDriver;
  /** Calls that changed something at the provider, so far. */
  writes(): number;
  /** What is served for a Service's UID, such as `TCP/80`, sorted. */
  served(serviceUid: string): readonly string[];
  /** How many nodes stand behind it. */
  nodeCount(serviceUid: string): number;
  /** Services with an annotation that the driver cannot read. */
  readonly badAnnotation: { readonly name: string; readonly value: string };
  /** The next writing call fails; `afterwards` does what is left. undefined where there is no call that could fail. */
  readonly failNextWrites?: (count: number) => void;
}

const clusterId = "cluster-1";
const nodes = [rawNode(1), rawNode(2), rawNode(3)];
const udp = { name: "dns", protocol: "UDP", port: 53, nodePort: 30053, targetPort: 53 };
const tcp = { name: "http", protocol: "TCP", port: 80, nodePort: 30080, targetPort: 8080 };

function wantedOf(store: ClusterStore, key = "shop/web"): WantedLoadBalancer {
  const service = store.services.get(key);
  if (service === undefined) throw new Error(`there is no ${key}`);
  return planLoadBalancer(service, { clusterId, nodes: selectNodes(store.nodes.values(), "ignore") });
}

export function describeDriver(name: string, makeBench: () => DriverBench): void {
  const ensure = async (bench: DriverBench, spec: JsonObject = {}, of: readonly JsonObject[] = nodes, metadata: JsonObject = {}) => {
    const store = makeStore([rawService({ spec, metadata })], of);
    bench.driver.follow(store);
    return bench.driver.ensure(wantedOf(store));
  };
  describe(`the driver ${name}`, () => {
    it("makes a load balancer with every port and node", async () => {
      const bench = makeBench();
      const outcome = await ensure(bench, { ports: [tcp, udp] });
      expect(outcome).toMatchObject({ type: "ensured" });
      expect([bench.served("uid-web"), bench.nodeCount("uid-web")]).toEqual([["TCP/80", "UDP/53"], 3]);
      expect(await bench.driver.observe({ clusterId, serviceUid: "uid-web" })).toBeDefined();
    });

    it("writes nothing when all is as wanted, and says the same", async () => {
      const bench = makeBench();
      const first = await ensure(bench);
      const before = bench.writes();
      expect(await ensure(bench)).toEqual(first);
      expect(bench.writes()).toBe(before);
    });

    it.each([
      ["added", [tcp, udp], ["TCP/80", "UDP/53"]],
      ["removed", [udp], ["UDP/53"]],
      ["flipped to UDP", [{ ...tcp, protocol: "UDP" }], ["UDP/80"]],
      ["of both protocols", [tcp, { ...tcp, name: "quic", protocol: "UDP" }], ["TCP/80", "UDP/80"]],
    ])("follows ports that are %s", async (_what, ports, served) => {
      const bench = makeBench();
      await ensure(bench);
      await ensure(bench, { ports });
      expect(bench.served("uid-web")).toEqual(served);
    });

    it.each([
      ["added", [...nodes, rawNode(4)], 4],
      ["deleted", nodes.slice(1), 2],
      [
        "excluded",
        [rawNode(1, { metadata: { labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "" } } }), ...nodes.slice(1)],
        2,
      ],
    ])("follows nodes that are %s", async (_what, changed, count) => {
      const bench = makeBench();
      await ensure(bench);
      await ensure(bench, {}, changed);
      expect(bench.nodeCount("uid-web")).toBe(count);
    });

    it("refuses an annotation that it cannot read, and writes nothing", async () => {
      const bench = makeBench();
      const { name: annotation, value } = bench.badAnnotation;
      const outcome = await ensure(bench, {}, nodes, { annotations: { [annotation]: value } });
      expect(outcome).toMatchObject({ type: "refused", reason: "InvalidAnnotation", message: expect.stringContaining(annotation) });
      expect(bench.writes()).toBe(0);
    });

    it("deletes what is an owner's, twice alike, and nothing of another cluster or Service", async () => {
      const bench = makeBench();
      const store = makeStore([rawService(), rawService({ name: "dns", spec: { ports: [udp] } })], nodes);
      bench.driver.follow(store);
      await bench.driver.ensure(wantedOf(store, "shop/web"));
      await bench.driver.ensure(wantedOf(store, "shop/dns"));
      await bench.driver.delete({ clusterId, serviceUid: "uid-web" });
      await bench.driver.delete({ clusterId, serviceUid: "uid-web" });
      expect([bench.served("uid-web"), bench.served("uid-dns")]).toEqual([[], ["UDP/53"]]);
    });

    it("lists nothing of another cluster", async () => {
      const bench = makeBench();
      await ensure(bench);
      expect(await bench.driver.list("cluster-2")).toEqual([]);
    });

    it("comes to the same whichever call a crash came before", async () => {
      for (let count = 0; count < 12; count += 1) {
        const bench = makeBench();
        bench.failNextWrites?.(count);
        await ensure(bench, { ports: [tcp, udp] }).catch(() => undefined);
        bench.failNextWrites?.(Number.POSITIVE_INFINITY);
        await ensure(bench, { ports: [tcp, udp] });
        expect([bench.served("uid-web"), bench.nodeCount("uid-web")]).toEqual([["TCP/80", "UDP/53"], 3]);
        bench.failNextWrites?.(count);
        await bench.driver.delete({ clusterId, serviceUid: "uid-web" }).catch(() => undefined);
        bench.failNextWrites?.(Number.POSITIVE_INFINITY);
        await bench.driver.delete({ clusterId, serviceUid: "uid-web" });
        expect([bench.served("uid-web"), await bench.driver.list(clusterId)]).toEqual([[], []]);
      }
    });
  });
}
