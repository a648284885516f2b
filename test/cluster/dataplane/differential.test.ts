/**
 * The nftables dataplane against the real kube-proxy: two nodes with the same addresses, the same API objects, the same clients. Every
 * connection must end in the same way, which is kube-proxy's; and no rule of ours is there without changing how some connection ends.
 */
import { spawn } from "node:child_process";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { Dataplane, ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { Plan, PlanOptions } from "#agent/dataplane/node-plan.ts";
import { familyWords, type LayoutOptions, tableName } from "#agent/dataplane/nftables/layout.ts";
import { createNft, type Nft } from "#agent/dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "#agent/dataplane/nftables/nftables.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import type { Cluster } from "../harness/cluster.ts";
import { type Assigned, type Cell, familiesThatDiffer, makeCells, probeAll, probeToTheEnd, type Seen } from "./cells.ts";
import { createObjects, readObjects, type RunningProxy, startControlPlane, startKubeProxy } from "./control-plane.ts";
import { findRules, type FoundRule } from "./rules.ts";
import { addresses, clusterCidrs, type Family, removeAbandonedWorlds, World } from "./world.ts";

/** Two endpoints both answer within so many connections, except once in 2^40 times. */
const maxRounds = 40;
const families: readonly Family[] = ["IPv4", "IPv6"];
const mutationTimeoutMs = 600_000;
/** kube-proxy's default. */
const masqueradeBit = 14;

/** A way to configure both. */
interface Settings {
  readonly name: string;
  readonly flags: readonly string[];
  readonly options: PlanOptions;
}

const byDefault: PlanOptions = {
  externalIps: "serve",
  masqueradeAll: false,
  localDetection: { type: "cidrs", cidrs: clusterCidrs },
  nodePortAddresses: {
    IPv4: { type: "only", addresses: [addresses.node.IPv4] },
    IPv6: { type: "only", addresses: [addresses.node.IPv6] },
  },
};
const settings: readonly Settings[] = [
  { name: "by default", flags: [`--cluster-cidr=${clusterCidrs.join(",")}`], options: byDefault },
  {
    name: "with node ports everywhere, and pods told by their interface",
    flags: ["--nodeport-addresses=0.0.0.0/0,::/0", "--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=cni"],
    options: {
      ...byDefault,
      localDetection: { type: "interfacePrefix", prefix: "cni" },
      nodePortAddresses: { IPv4: { type: "all" }, IPv6: { type: "all" } },
    },
  },
  {
    name: "with everything masqueraded, and pods behind one bridge",
    flags: ["--masquerade-all", "--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"],
    options: { ...byDefault, masqueradeAll: true, localDetection: { type: "bridge", interface: "cni0" } },
  },
  { name: "with no way to tell pods", flags: [], options: { ...byDefault, localDetection: { type: "none" } } },
];

let cluster: Cluster;
let assigned: ReadonlyMap<string, Assigned>;
let cells: readonly Cell[];

beforeAll(async () => {
  await removeAbandonedWorlds();
  cluster = await startControlPlane();
  assigned = await createObjects(cluster);
  cells = makeCells(assigned);
});

afterAll(async () => {
  await cluster?.stop();
});

describe.each(settings)("kube-proxy and the nftables dataplane, $name,", ({ flags, options }) => {
  const kube = new World("kube");
  const ours = new World("ours");
  let proxy: RunningProxy;
  let nft: Nft;
  let plan: Plan;
  let dataplane: Dataplane;
  /** What was seen in each cell, in each world. */
  let seen: { readonly kube: Map<Cell, Set<string>>; readonly ours: Map<Cell, Set<string>> };
  const isSticky = ({ service }: Cell): boolean => service?.affinitySeconds !== undefined;

  beforeAll(async () => {
    const last = [...assigned.values()].at(-1);
    if (last === undefined) throw new Error("there are no Services");
    await Promise.all([kube.start(), ours.start()]);
    proxy = await startKubeProxy(cluster, kube, flags, last);
    plan = new Planner(options).plan(await readObjects(cluster), "all");
    nft = createNft({ command: ours.onNode(["nft"]), spawn, timeoutMs: 60_000 });
    dataplane = createNftablesDataplane({ nft, families, masqueradeBit });
    for (const family of families) expect(await dataplane.apply(plan[family].table)).toMatchObject({ type: "applied" });
    const nothing = (): Map<Cell, Set<string>> => new Map(cells.map((cell) => [cell, new Set()]));
    seen = { kube: nothing(), ours: nothing() };
  });

  afterAll(async () => {
    await proxy?.stop();
    await Promise.all([kube.stop(), ours.stop()]);
  });

  test("end every connection in the same way", async () => {
    const plain = cells.filter((cell) => !isSticky(cell));
    expect(plain.length).toBeGreaterThanOrEqual(400);
    await probeBoth(plain);
    await probeSilentAgain(plain.filter(({ target }) => target.protocol === "TCP"));
    const isAnswered = (cell: Cell): boolean => [...(seen.kube.get(cell) ?? [])].some((text) => text.includes(" saw "));
    for (let round = 1; round < 4; round++) await probeBoth(plain.filter(isAnswered));
    for (let round = 4; round < maxRounds && differences(plain).length > 0; round++) {
      await probeBoth(plain.filter(differs));
      await probeSilentAgain(plain.filter(differs));
    }
    expect(differences(plain)).toEqual([]);
  });

  test("send a client to the same endpoint again, at whichever address", async () => {
    const sticky = cells.filter(isSticky);
    // One after the other for each client and Service, since the first connection decides.
    for (let round = 0; round < 4; round++) {
      for (const group of byAddress(sticky)) await probeBoth(group);
    }
    for (const map of [seen.kube, seen.ours]) {
      const unsteady = sticky.filter((cell) => hasOnePolicy(cell) && map.get(cell)?.size !== 1);
      expect(unsteady.map((cell) => `${cell.name}: ${toText(map.get(cell))}`)).toEqual([]);
    }
    for (const map of [seen.kube, seen.ours]) expect(endpointsByClient(sticky, map)).toEqual([]);
  });

  test(
    "would not, without any one kind of our rules",
    async () => {
      const kinds = await findRules(
        nft,
        families.map((family) => layoutOf(plan[family].table)),
      );
      const unseen: string[] = [];
      for (const [kind, rules] of kinds) {
        const missed = new Set<Family>();
        for (const rule of rules) if (missed.size < families.length) for (const family of await familiesThatMiss(rule)) missed.add(family);
        for (const family of families) if (!missed.has(family)) unseen.push(`${family} ${kind}`);
      }
      expect(unseen).toEqual([]);
      for (const family of families) expect(await dataplane.verify(plan[family].table)).toEqual({ type: "applied", changes: 0 });
    },
    mutationTimeoutMs,
  );

  async function probeBoth(list: readonly Cell[]): Promise<void> {
    const outcomes = await Promise.all([probeAll(kube, list), probeAll(ours, list)]);
    for (const [index, cell] of list.entries()) {
      note(seen.kube.get(cell), outcomes[0][index]);
      note(seen.ours.get(cell), outcomes[1][index]);
    }
  }

  /** What seems to be dropped may be a refusal that was lost or not believed. */
  async function probeSilentAgain(list: readonly Cell[]): Promise<void> {
    const again = async (world: World, map: ReadonlyMap<Cell, Set<string>>): Promise<void> => {
      const silent = list.filter((cell) => map.get(cell)?.delete("dropped") === true);
      for (const [index, outcome] of (await probeToTheEnd(world, silent)).entries()) {
        const cell = silent[index];
        if (cell !== undefined) note(map.get(cell), outcome);
      }
    };
    await Promise.all([again(kube, seen.kube), again(ours, seen.ours)]);
  }

  function differs(cell: Cell): boolean {
    return toText(seen.kube.get(cell)) !== toText(seen.ours.get(cell));
  }

  function differences(list: readonly Cell[]): readonly string[] {
    return list
      .filter(differs)
      .map((cell) => `${cell.name}: kube-proxy ${toText(seen.kube.get(cell))}; ours ${toText(seen.ours.get(cell))}`);
  }

  /** The families in which connections end otherwise while the rule is not there. */
  async function familiesThatMiss(rule: FoundRule): Promise<ReadonlySet<Family>> {
    await rule.remove();
    const before = (cell: Cell): Seen => seen.ours.get(cell) ?? new Set();
    const plain = cells.filter((cell) => !isSticky(cell));
    const missed = rule.isAboutAffinity ? await unsteadyFamilies() : await familiesThatDiffer(ours, plain, before);
    await rule.restore();
    return missed;
  }

  /** The families in which a client, forgotten by all, does not come to the same endpoint each time. */
  async function unsteadyFamilies(): Promise<ReadonlySet<Family>> {
    for (const family of families) await nft.run(`flush set ${familyWords(family).table} ${tableName} affinity`);
    const sticky = cells.filter(isSticky);
    const endpoints = new Map(sticky.map((cell) => [cell, new Set<string>()]));
    const unsteady = new Set<Family>();
    for (let round = 0; round < maxRounds && unsteady.size < families.length; round++) {
      for (const group of byAddress(sticky)) {
        const outcomes = await probeAll(ours, group);
        for (const [index, cell] of group.entries()) endpoints.get(cell)?.add(outcomes[index] ?? "");
      }
      for (const cell of sticky) if ((endpoints.get(cell)?.size ?? 0) > 1) unsteady.add(cell.family);
    }
    return unsteady;
  }
});

function layoutOf({ family, localDetection, masqueradeAll, nodePortAddresses }: ServiceTable): LayoutOptions {
  return { family, localDetection, masqueradeAll, nodePorts: nodePortAddresses.type, masqueradeBit };
}

/** Whoever was refused once is refused, even if the refusal does not arrive each time. */
function note(seen: Set<string> | undefined, outcome = ""): void {
  if (outcome !== "dropped" || seen?.has("refused") !== true) seen?.add(outcome);
  if (outcome === "refused") seen?.delete("dropped");
}

function toText(seen: Seen | undefined): string {
  return [...(seen ?? [])].toSorted().join(", ");
}

/** Cells that may be probed together although their Services are sticky: one address of each. */
function byAddress(sticky: readonly Cell[]): Iterable<readonly Cell[]> {
  return Map.groupBy(sticky, ({ address }) => address).values();
}

/** A client that two policies send to different lists may come to stick to one endpoint in each, and then to either. */
function hasOnePolicy({ service, client, address }: Cell): boolean {
  return service?.internal === service?.external || client === "node" || address !== "cluster IP";
}

/** The clients of Services for which all addresses lead to the same endpoints, and which nevertheless came to several. */
function endpointsByClient(sticky: readonly Cell[], seen: ReadonlyMap<Cell, Seen>): readonly string[] {
  // The node itself is another client at each address: the kernel chooses its own address by the way there.
  const alike = sticky.filter(({ service, client }) => client !== "node" && service?.internal === service?.external);
  const groups = Map.groupBy(alike, ({ service, client, family, target }) => `${client} ${service?.name} ${family} ${target.protocol}`);
  return [...groups]
    .map(
      ([name, list]) =>
        `${name}: ${[...new Set(list.flatMap((cell) => [...(seen.get(cell) ?? [])].map((text) => text.split(" ")[0])))].join(" ")}`,
    )
    .filter((text) => (text.split(": ")[1] ?? "").includes(" "));
}
