/** Our table in a real kernel: made in pieces, read back, repaired, adopted after a crash. It needs root, for a network namespace. */
import { spawn } from "node:child_process";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { PlanOptions } from "#agent/dataplane/node-plan.ts";
import { createNft, type Nft, NftError } from "#agent/dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "#agent/dataplane/nftables/nftables.ts";
import { probeNftables } from "#agent/dataplane/nftables/probe.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { makeEndpoint, makeObjects, makeService, makeSlice, planOptions } from "#test/agent/dataplane/makers.ts";
import { mustRun } from "../harness/command.ts";

const namespace = `sdp-${process.pid}-table-node`;
const nft = createNft({ command: ["ip", "netns", "exec", namespace, "nft"], spawn, timeoutMs: 60_000 });
const families = ["IPv4", "IPv6"] as const;
const masqueradeBit = 14;

beforeAll(async () => {
  await mustRun("ip", ["netns", "add", namespace]);
});

afterAll(async () => {
  await mustRun("ip", ["netns", "del", namespace]);
});

beforeEach(async () => {
  await nft.run("flush ruleset");
});

describe("a node that can have the table", () => {
  test("is found to be one, and has nothing of it afterwards", async () => {
    expect(await probeNftables(nft, families, masqueradeBit)).toMatchObject({ type: "usable" });
    expect(await ruleset()).toBe("");
  });

  test("is found to be one when it has a table already, of this layout or another, and keeps it", async () => {
    await makeDataplane().apply(tableOf("IPv4", 5));
    await nft.run("add table ip6 sallyport\nadd map ip6 sallyport services { type ipv6_addr : verdict; }");
    const before = await ruleset();
    expect(await probeNftables(nft, families, masqueradeBit)).toMatchObject({ type: "usable" });
    expect(await ruleset()).toBe(before);
  });

  test("is given it, and is as before when it is taken away", async () => {
    const foreign =
      "table ip kube-proxy {\n\tchain nat-prerouting {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t}\n}\n";
    await nft.run(foreign);
    const dataplane = makeDataplane();
    for (const family of families) expect(await dataplane.apply(tableOf(family, 3))).toMatchObject({ type: "applied" });
    expect(await ruleset()).toContain(foreign);
    await dataplane.cleanup();
    expect(await ruleset()).toBe(foreign);
  });

  test("has as many rules for a thousand Services as for two hundred", async () => {
    const countRules = async (services: number): Promise<number> => {
      await makeDataplane().apply(tableOf("IPv4", services));
      return (await nft.list(["-t", "list", "table", "ip", "sallyport"])).split('"rule":').length;
    };
    expect(await countRules(1_050)).toBe(await countRules(210));
  });
});

describe("an agent that dies", () => {
  test("after any step of a cold start leaves no table or a whole one, and the next goes on", async () => {
    const table = tableOf("IPv4", 500);
    const steps = await countRuns(table);
    expect(steps).toBeGreaterThan(4);
    for (let last = 0; last < steps; last++) {
      await nft.run("flush ruleset");
      expect(await makeDataplane(dyingAfter(last)).apply(table)).toMatchObject({ type: "failed" });
      const isWorking = (await ruleset()).includes("hook prerouting");
      const adopted = await makeDataplane().apply(table);
      expect({ last, isWorking, adopted }).toMatchObject({ isWorking: false, adopted: { type: "applied" } });
      expect(await makeDataplane().verify(table)).toEqual({ type: "applied", changes: 0 });
    }
  });

  test("in the middle of a transaction leaves the table as it was", async () => {
    await makeDataplane().apply(tableOf("IPv4", 10));
    const before = await ruleset();
    const hasty = createNft({ command: ["ip", "netns", "exec", namespace, "nft"], spawn, timeoutMs: 1 });
    await expect(hasty.run("delete table ip sallyport")).rejects.toThrow(NftError);
    expect([before, ""]).toContain(await ruleset());
    await makeDataplane().apply(tableOf("IPv4", 10));
    expect(await makeDataplane().verify(tableOf("IPv4", 10))).toEqual({ type: "applied", changes: 0 });
  });

  test("finds its clients and its order of endpoints again", async () => {
    const two = stickyTable([1, 2]);
    await makeDataplane().apply(stickyTable([1, 2, 3]));
    await makeDataplane().apply(stickyTable([2, 3]));
    const before = await elementsOf("affinity-endpoints");
    expect(await makeDataplane().apply(stickyTable([2, 3]))).toEqual({ type: "applied", changes: 0 });
    expect(await elementsOf("affinity-endpoints")).toBe(before);
    expect(await makeDataplane().apply(two)).toMatchObject({ type: "applied" });
  });
});

describe("verification", () => {
  test.each<[string, string]>([
    ["a rule that was taken out", "flush chain ip sallyport check-services"],
    ["a rule that was put in", "add rule ip sallyport find-service accept"],
    ["a rule that was put first", "insert rule ip sallyport nat-prerouting accept"],
    ["a base chain that was deleted", "delete chain ip sallyport nat-postrouting"],
    [
      "a base chain with another priority",
      "delete chain ip sallyport nat-output\nadd chain ip sallyport nat-output { type nat hook output priority 50; }",
    ],
    ["a map that was emptied", "flush map ip sallyport endpoints"],
    ["an element that was taken out", "delete element ip sallyport services { 10.96.0.1 . 6 . 80 }"],
    ["an element that was put in", "add element ip sallyport refused-services { 10.96.0.1 . 6 . 80 : drop }"],
    ["a set that was emptied", "flush set ip sallyport service-cidrs"],
    ["a chain that nobody needs", "add chain ip sallyport internal-99"],
    ["a table that is gone", "delete table ip sallyport"],
    ["clients of nobody", "add element ip sallyport affinity { 10.0.0.1 . 0:9999 }"],
  ])("repairs %s", async (_, damage) => {
    const table = tableOf("IPv4", 5);
    const dataplane = makeDataplane();
    await dataplane.apply(table);
    const before = await ruleset();
    expect(await dataplane.verify(table)).toEqual({ type: "applied", changes: 0 });
    await nft.run(damage);
    expect(await dataplane.verify(table)).toMatchObject({ type: "applied" });
    expect(sorted(await ruleset())).toBe(sorted(before));
    expect(await dataplane.verify(table)).toEqual({ type: "applied", changes: 0 });
  });

  test("puts this layout in the place of another, which worked until then", async () => {
    await nft.run(
      "add table ip sallyport\nadd map ip sallyport services { type ipv4_addr : verdict; }\nadd chain ip sallyport old { type filter hook input priority 0; }",
    );
    const scripts: string[] = [];
    const watched: Nft = { ...nft, run: async (script) => (scripts.push(script), nft.run(script)) };
    expect(await makeDataplane(watched).apply(tableOf("IPv4", 5))).toMatchObject({ type: "applied" });
    const replacing = scripts.filter((script) => script.includes("delete table"));
    expect(replacing).toHaveLength(1);
    expect(replacing[0]).toContain("hook prerouting");
    expect(await makeDataplane().verify(tableOf("IPv4", 5))).toEqual({ type: "applied", changes: 0 });
  });
});

describe("a table of another layout, where a transaction may not be large", () => {
  const other = "add table ip sallyport\nadd chain ip sallyport old { type filter hook input priority 0; }";
  const refusing = (isRefused: (script: string) => boolean): Nft => ({
    ...nft,
    run: async (script) => {
      if (isRefused(script)) throw new NftError("Message too long");
      await nft.run(script);
    },
  });

  test("is removed first, and this one made in pieces", async () => {
    await nft.run(other);
    const isWhole = (script: string): boolean => script.includes("delete table") && script.includes("add element");
    expect(await makeDataplane(refusing(isWhole)).apply(tableOf("IPv4", 5))).toMatchObject({ type: "applied" });
    expect(await makeDataplane().verify(tableOf("IPv4", 5))).toEqual({ type: "applied", changes: 0 });
  });

  test("stays when this one cannot be made at all", async () => {
    await nft.run(other);
    const before = await ruleset();
    const broken: Nft = {
      ...refusing((script) => script.includes("delete table")),
      check: () => Promise.reject(new NftError("unsupported")),
    };
    expect(await makeDataplane(broken).apply(tableOf("IPv4", 5))).toEqual({ type: "failed", message: "unsupported" });
    expect(await ruleset()).toBe(before);
  });
});

describe("changes", () => {
  test("one after the other end where a new agent would begin", async () => {
    for (const family of families) {
      const dataplane = makeDataplane();
      for (const services of [5, 2, 9, 0, 30, 29])
        expect(await dataplane.apply(tableOf(family, services))).toMatchObject({ type: "applied" });
      // Places that nobody looks at any more go with the next change.
      await dataplane.apply(tableOf(family, 29));
      expect(await makeDataplane().apply(tableOf(family, 29))).toEqual({ type: "applied", changes: 0 });
    }
  });

  test("of source ranges may widen and narrow, and overlap with what was there", async () => {
    const dataplane = makeDataplane();
    const lists = [["10.0.0.0/8"], ["10.0.0.0/16", "10.255.0.0/16"], ["10.0.0.0/8", "11.0.0.0/32"], ["0.0.0.0/1"], ["10.1.2.3/32"], []];
    for (const sourceRanges of lists) {
      const service = makeService({ type: "LoadBalancer", ingress: [{ ip: "198.51.100.1", mode: "VIP" }], sourceRanges });
      const { table } = new Planner(planOptions).plan(makeObjects([service], []), "all").IPv4;
      expect(await dataplane.apply(table)).toMatchObject({ type: "applied" });
      expect(await makeDataplane().apply(table)).toEqual({ type: "applied", changes: 0 });
    }
  });

  test("of the node's own settings are taken over", async () => {
    const dataplane = makeDataplane();
    await dataplane.apply(tableOf("IPv4", 5));
    const others: readonly Partial<PlanOptions>[] = [
      { masqueradeAll: true },
      { localDetection: { type: "interfacePrefix", prefix: "veth" } },
      { nodePortAddresses: { ...planOptions.nodePortAddresses, IPv4: { type: "only", addresses: ["192.168.0.1", "127.0.0.1"] } } },
    ];
    for (const options of others) {
      const table = tableOf("IPv4", 5, options);
      expect(await dataplane.apply(table)).toMatchObject({ type: "applied" });
      expect(await makeDataplane().verify(table)).toEqual({ type: "applied", changes: 0 });
    }
    expect(await elementsOf("node-port-ips")).toContain("192.168.0.1");
    expect(await elementsOf("node-port-ips")).not.toContain("127.0.0.1");
  });

  test("that take an endpoint away forget its clients and no others", async () => {
    const dataplane = makeDataplane();
    await dataplane.apply(stickyTable([1, 2]));
    await nft.run("add element ip sallyport affinity { 10.0.0.1 . 0:2001 timeout 600s, 10.0.0.2 . 0:2002 timeout 600s }");
    await dataplane.apply(stickyTable([2]));
    const clients = await elementsOf("affinity");
    expect(clients).toContain("10.0.0.2");
    expect(clients).not.toContain("10.0.0.1");
  });
});

function makeDataplane(own: Nft = nft) {
  return createNftablesDataplane({ nft: own, families, masqueradeBit });
}

/** An nft that does so many scripts and no more, as when its agent is killed. */
function dyingAfter(runs: number): Nft {
  let left = runs;
  return {
    ...nft,
    run: async (script) => {
      if (left === 0) throw new NftError("killed");
      left -= 1;
      await nft.run(script);
    },
  };
}

async function countRuns(table: ServiceTable): Promise<number> {
  let runs = 0;
  const counting: Nft = { ...nft, run: async (script) => ((runs += 1), nft.run(script)) };
  await makeDataplane(counting).apply(table);
  return runs;
}

async function ruleset(): Promise<string> {
  return mustRun("ip", ["netns", "exec", namespace, "nft", "list", "ruleset"]);
}

async function elementsOf(set: string): Promise<string> {
  const kind = set === "affinity-endpoints" ? "map" : "set";
  return mustRun("ip", ["netns", "exec", namespace, "nft", "list", kind, "ip", "sallyport", set]);
}

/** The kernel's order of elements in a map is its own. */
function sorted(text: string): string {
  return [...(text.match(/[^\s,]+/g) ?? [])].toSorted().join(" ");
}

/** Services with everything that a Service can have. */
function tableOf(family: "IPv4" | "IPv6", services: number, options: Partial<PlanOptions> = {}): ServiceTable {
  const isIPv4 = family === "IPv4";
  const address = (range: number, index: number): string =>
    isIPv4 ? `10.${range}.${index >> 8}.${index & 255}` : `fd00:${range}::${index.toString(16)}`;
  const indexes = Array.from({ length: services }, (_, index) => index + 1);
  const objects = makeObjects(
    indexes.map((index) =>
      makeService({
        name: `s${index}`,
        clusterIps: [address(96, index)],
        type: "LoadBalancer",
        ports: [{ name: "http", protocol: index % 3 === 0 ? "SCTP" : "TCP", port: 80, nodePort: 20_000 + index }],
        externalTrafficPolicy: index % 2 === 0 ? "Local" : "Cluster",
        externalIps: [address(97, index)],
        ingress: [{ ip: address(98, index), mode: "VIP" }],
        sourceRanges: isIPv4 ? ["10.0.0.0/8", "11.0.0.1/32"] : ["fd00::/8", "fc00::1/128"],
        affinitySeconds: index % 5 === 0 ? 60 : undefined,
      }),
    ),
    indexes.map((index) =>
      makeSlice(
        index % 7 === 0
          ? []
          : [makeEndpoint(address(99, index), { nodeName: index % 4 === 0 ? "node-a" : "node-b" }), makeEndpoint(address(99, index + 1))],
        {
          family,
          service: `s${index}`,
          name: `s${index}`,
          ports: [{ name: "http", protocol: index % 3 === 0 ? "SCTP" : "TCP", port: 8080 }],
        },
      ),
    ),
    { serviceCidrs: ["10.96.0.0/16", "10.97.0.0/16", "fd00:96::/112"] },
  );
  return new Planner({ ...planOptions, ...options }).plan(objects, "all")[family].table;
}

function stickyTable(endpoints: readonly number[]): ServiceTable {
  const slice = makeSlice(endpoints.map((index) => makeEndpoint(`10.244.0.${index}`)));
  return new Planner(planOptions).plan(makeObjects([makeService({ affinitySeconds: 600 })], [slice]), "all").IPv4.table;
}
