import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Endpoint, ServicePort } from "#agent/dataplane/dataplane.ts";
import { type TableChanges, TableMirror } from "#agent/dataplane/nftables/mirror.ts";
import { countChanges } from "#agent/dataplane/nftables/script.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { step, take, toObjects } from "../arbitraries.ts";
import { planOptions } from "../makers.ts";
import { servicePort } from "../userspace/tables.ts";
import { TableModel, told } from "./table-model.ts";

describe("the table after any changes", () => {
  it("makes of every connection what was planned, and is what adopting it would make of it", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const { planner, state, mirror, model } = start();
        for (const one of steps) {
          const changed = take(state, one);
          const { ports } = planner.plan(toObjects(state), new Set([changed])).IPv4.table;
          model.apply(mirror.advance(ports));
          for (const port of ports) expectPlanned(model, port);
        }
        const { ports } = planner.plan(toObjects(state), new Set()).IPv4.table;
        model.apply(mirror.advance(ports));
        expect(countChanges(TableMirror.adopt(ports, model.contents).changes)).toBe(0);
      }),
    );
  });

  it("is right again after a table with other things in it was adopted", () => {
    const damage = fc.array(fc.record({ index: fc.nat(), type: fc.constantFrom("remove" as const, "change" as const) }), { maxLength: 5 });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), damage, (steps, damages) => {
        const { planner, state, mirror, model } = start();
        for (const one of steps) take(state, one);
        const { ports } = planner.plan(toObjects(state), "all").IPv4.table;
        model.apply(mirror.advance(ports));
        const damaged = new TableModel(damages.reduce(harm, model.contents));
        damaged.apply(TableMirror.adopt(ports, damaged.contents).changes);
        for (const port of ports) expectPlanned(damaged, port);
        expect(countChanges(TableMirror.adopt(ports, damaged.contents).changes)).toBe(0);
      }),
    );
  });
});

describe("one endpoint among a hundred", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => endpoint(index + 1));

  it.each<[string, readonly Endpoint[], number]>([
    // Its place, its hairpin, and the number of endpoints.
    ["that comes costs three elements", [...hundred, endpoint(101)], 3],
    ["that goes costs its hairpin, the number, and the place that the last one takes", hundred.filter((_, index) => index !== 10), 3],
    ["that is replaced costs its place and two hairpins", hundred.with(10, endpoint(101)), 3],
  ])("%s", (_, endpoints, wanted) => {
    const mirror = new TableMirror();
    mirror.advance([makePort(hundred)]);
    expect(countChanges(mirror.advance([makePort(endpoints)]))).toBe(wanted);
  });

  it("changes nothing for Services that did not change", () => {
    const mirror = new TableMirror();
    const others = Array.from({ length: 50 }, (_, index) =>
      makePort([endpoint(index)], { name: `s${index}`, clusterIp: `10.96.1.${index}` }),
    );
    mirror.advance([...others, makePort(hundred)]);
    const changes = mirror.advance([...others, makePort(hundred.slice(1))]);
    expect([...changes.values()].flatMap((elements) => [...elements.keys()]).filter((key) => key.startsWith("10.96.1."))).toEqual([]);
    expect(countChanges(mirror.advance(others))).toBeGreaterThan(0);
    expect(countChanges(mirror.advance(others))).toBe(99);
    expect(countChanges(mirror.advance(others))).toBe(0);
  });
});

describe("a packet in the middle of a change", () => {
  it("finds the place that it was about to look at, until the next change", () => {
    const mirror = new TableMirror();
    const model = new TableModel();
    model.apply(mirror.advance([makePort([endpoint(1), endpoint(2), endpoint(3)])]));
    const two = makePort([endpoint(1), endpoint(2)]);
    model.apply(mirror.advance([two]));
    expect(model.contents.get("endpoints")?.get("10.96.0.1 . 6 . 80 . 0:2")).toBe("10.244.0.3 . 8080");
    model.apply(mirror.advance([two]));
    expect(model.contents.get("endpoints")?.size).toBe(2);
  });
});

describe("session affinity", () => {
  const sticky = (endpoints: readonly Endpoint[]): ServicePort => makePort(endpoints, { affinitySeconds: 60 });
  const placesOf = (changes: TableChanges): readonly string[] =>
    [...(changes.get("affinity-endpoints") ?? [])].map(([key, { before, after }]) => `${key}: ${before} → ${after}`).toSorted();

  it("gives a place that was given up to nobody else until clients are forgotten", () => {
    const mirror = new TableMirror();
    mirror.advance([sticky([endpoint(1), endpoint(2)])]);
    expect(placesOf(mirror.advance([sticky([endpoint(2), endpoint(3)])]))).toEqual([
      "0:2001: 10.244.0.1 . 8080 → undefined",
      "0:2003: undefined → 10.244.0.3 . 8080",
    ]);
    expect(placesOf(mirror.advance([sticky([endpoint(2), endpoint(3), endpoint(4)])]))).toEqual(["0:2001: undefined → 10.244.0.4 . 8080"]);
  });

  it("gives a list that was given up to no other Service in the same change", () => {
    const mirror = new TableMirror();
    mirror.advance([sticky([endpoint(1)])]);
    const other = { ...sticky([endpoint(1)]), name: "other", clusterIp: "10.96.0.2" };
    expect(placesOf(mirror.advance([other]))).toEqual(["0:2001: 10.244.0.1 . 8080 → undefined", "0:4001: undefined → 10.244.0.1 . 8080"]);
  });

  it("has no list for a port that no address leads to an endpoint of, which whoever reads the table would not find", () => {
    const port = { ...sticky([endpoint(1)]), internal: { type: "drop" } } as const;
    expect(placesOf(new TableMirror().advance([port]))).toEqual([]);
    expect(placesOf(new TableMirror().advance([{ ...port, nodePort: 30_080 }]))).toHaveLength(1);
  });

  it("has endpoints of this node in both lists, so that both policies agree", () => {
    const here = { ...endpoint(1), isLocal: true };
    const port = makePort([here, endpoint(2)], {
      affinitySeconds: 60,
      nodePort: 30_080,
      keepsClientAddress: true,
      external: { type: "balance", endpoints: [here] },
    });
    expect(placesOf(new TableMirror().advance([port]))).toEqual([
      "0:2001: undefined → 10.244.0.1 . 8080",
      "0:2002: undefined → 10.244.0.2 . 8080",
      "0:3001: undefined → 10.244.0.1 . 8080",
    ]);
  });
});

describe("text that is no address", () => {
  it.each<[string, Partial<ServicePort>]>([
    ["cluster IP", { clusterIp: "10.96.0.1; flush ruleset" }],
    ["external IP", { externalIps: ["} drop"] }],
    ["source range", { loadBalancerIps: ["198.51.100.1"], sourceRanges: ["10.0.0.0/8, 0.0.0.0/0"] }],
    ["endpoint", { internal: { type: "balance", endpoints: [{ address: "a", port: 1, isLocal: true }] } }],
    ["port", { port: Number.NaN }],
    ["port of an endpoint", { internal: { type: "balance", endpoints: [{ address: "10.0.0.1", port: -1, isLocal: true }] } }],
  ])("never becomes an element: %s", (_, changes) => {
    expect(() => new TableMirror().advance([makePort([endpoint(1)], changes)])).toThrow(/is no|positive/);
  });
});

function start() {
  const state = { services: new Map(), slices: new Map() };
  const planner = new Planner(planOptions);
  planner.plan(toObjects(state), "all");
  return { state, planner, mirror: new TableMirror(), model: new TableModel() };
}

function expectPlanned(model: TableModel, port: ServicePort): void {
  const { internal, external, inside } = model.outcomes(port);
  expect(internal).toBe(told(port.internal));
  expect(external).toEqual(external.map(() => told(port.external)));
  expect(inside).toEqual(inside.map(() => told(port.externalFromInside)));
}

/** Takes away or spoils one element. */
function harm(
  contents: TableModel["contents"],
  { index, type }: { readonly index: number; readonly type: "remove" | "change" },
): TableModel["contents"] {
  const all = [...contents].flatMap(([container, elements]) => [...elements.keys()].map((key) => ({ container, key })));
  const victim = all[index % Math.max(all.length, 1)];
  return new Map(
    [...contents].map(([container, elements]) => {
      const entries = [...elements].filter(([key]) => type === "change" || container !== victim?.container || key !== victim.key);
      const spoil = ([key, value]: [string, string]): [string, string] =>
        container === victim?.container && key === victim.key && value !== "" ? [key, "10.9.9.9 . 9"] : [key, value];
      return [container, new Map(entries.map(spoil))];
    }),
  );
}

function endpoint(number: number): Endpoint {
  return { address: `10.244.0.${number}`, port: 8080, isLocal: false };
}

function makePort(endpoints: readonly Endpoint[], changes: Partial<ServicePort> = {}): ServicePort {
  return servicePort({ namespace: "default", portName: "http", clusterIp: "10.96.0.1", endpoints, ...changes });
}
