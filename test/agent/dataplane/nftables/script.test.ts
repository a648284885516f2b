import { describe, expect, it } from "vitest";
import { dynamicChain } from "#agent/dataplane/nftables/balancing.ts";
import { fixedChains, isFromPod, layoutDigest, type LayoutOptions } from "#agent/dataplane/nftables/layout.ts";
import type { ElementChange, TableChanges } from "#agent/dataplane/nftables/mirror.ts";
import { changeElements, countChanges, forgetClients, maxBatchElements, writeChains } from "#agent/dataplane/nftables/script.ts";

const options: LayoutOptions = {
  family: "IPv4",
  localDetection: { type: "none" },
  masqueradeAll: false,
  nodePorts: "all",
  masqueradeBit: 14,
};

describe("a small change", () => {
  it("is one transaction: first what goes, then what comes", () => {
    const changes: TableChanges = new Map([
      ["services", new Map<string, ElementChange>([["10.96.0.1 . 6 . 80", { before: "goto internal-2", after: "goto internal-3" }]])],
      ["hairpin", new Map<string, ElementChange>([["10.0.0.1 . 10.0.0.1", { before: undefined, after: "" }]])],
    ]);
    expect(changeElements("IPv4", changes)).toEqual([
      [
        "delete element ip sallyport services { 10.96.0.1 . 6 . 80 }",
        "add element ip sallyport services { 10.96.0.1 . 6 . 80 : goto internal-3 }",
        "add element ip sallyport hairpin { 10.0.0.1 . 10.0.0.1 }",
      ].join("\n"),
    ]);
  });

  it("is no transaction when there is none", () => {
    expect(changeElements("IPv6", new Map())).toEqual([]);
  });
});

describe("a large change", () => {
  const services = 5_000;
  const changes = manyServices(services);
  const scripts = changeElements("IPv4", changes);

  it("goes in pieces of a size that the kernel takes quickly, with everything in them", () => {
    expect(scripts.length).toBe(Math.ceil(countChanges(changes) / maxBatchElements));
    const elements = scripts.map((script) => script.split("\n").reduce((sum, line) => sum + line.split(", ").length, 0));
    expect(Math.max(...elements)).toBeLessThanOrEqual(maxBatchElements);
    expect(elements.reduce((sum, count) => sum + count)).toBe(countChanges(changes));
  });

  it("never parts what one address needs", () => {
    const home = (key: string): readonly number[] => scripts.flatMap((script, index) => (script.includes(key) ? [index] : []));
    const parted = Array.from({ length: services }, (_, index) => addressOf(index)).filter(
      (address) => home(`${address} . 6`).length !== 1,
    );
    expect(parted).toEqual([]);
  });

  it("brings what all lean on before the first address", () => {
    const first = scripts.findIndex((script) => script.includes(" services "));
    const last = scripts.findLastIndex((script) => script.includes(" hairpin "));
    expect(last).toBeLessThanOrEqual(first);
  });
});

describe("chains", () => {
  it("are emptied and filled in one transaction, each rule with its digest", () => {
    expect(writeChains("IPv6", [{ name: "refuse", base: undefined, rules: ["reject"] }])).toMatch(
      /^add chain ip6 sallyport refuse\nflush chain ip6 sallyport refuse\nadd rule ip6 sallyport refuse reject comment "[0-9a-f]{10}"$/,
    );
  });

  it.each(["internal-3", "sticky-external-1", "node-local-2", "sticky-node-inside-7", "remember-10800", "scan-4"])(
    "%s follows from its name",
    (name) => {
      expect(dynamicChain(name, options)?.rules.length).toBeGreaterThan(0);
    },
  );

  it.each([
    "internal-0",
    "internal-",
    "internal-65536",
    "node-internal-1",
    "remember-86401",
    "scan-4096",
    "internal-3 ",
    "refuse",
    "toString-1",
    "",
  ])("%j is no such name", (name) => {
    expect(dynamicChain(name, options)).toBeUndefined();
  });

  it("are as many whatever the Services", () => {
    expect(fixedChains(options).reduce((sum, { rules }) => sum + rules.length, 0)).toBeLessThan(50);
  });
});

describe("the layout", () => {
  it("of each family has a digest of its own", () => {
    expect(layoutDigest("IPv4")).not.toBe(layoutDigest("IPv6"));
  });

  it.each(["cni0", "veth", "br-4f.1", "eth0@if5"])("takes the interface %s", (name) => {
    expect(isFromPod("IPv4", { type: "interfacePrefix", prefix: name })?.yes).toBe(`iifname "${name}*"`);
  });

  it.each(['cni0" drop', "", "a*", "sixteen-letters-x", "a b", "a\\"])("does not take %j for an interface", (name) => {
    expect(() => isFromPod("IPv4", { type: "bridge", interface: name })).toThrow("no name of a network interface");
  });

  it("does not take a text for a range of pods", () => {
    expect(() => isFromPod("IPv4", { type: "cidrs", cidrs: ["10.0.0.0/8 } accept"] })).toThrow("no range");
  });
});

describe("clients that are forgotten", () => {
  it("may have expired before", () => {
    expect(forgetClients("IPv4", ["10.0.0.1 . 0:2001"])).toBe(
      "add element ip sallyport affinity { 10.0.0.1 . 0:2001 }\ndelete element ip sallyport affinity { 10.0.0.1 . 0:2001 }",
    );
  });
});

function manyServices(count: number): TableChanges {
  const added = (after: string): ElementChange => ({ before: undefined, after });
  const indexes = Array.from({ length: count }, (_, index) => index);
  return new Map([
    [
      "endpoints",
      new Map(indexes.flatMap((index) => [0, 1].map((at) => [`${addressOf(index)} . 6 . 80 . 0:${at}`, added("10.0.0.1 . 80")] as const))),
    ],
    ["services", new Map(indexes.map((index) => [`${addressOf(index)} . 6 . 80`, added("goto internal-2")]))],
    ["hairpin", new Map([["10.0.0.1 . 10.0.0.1", added("")]])],
  ]);
}

function addressOf(index: number): string {
  return `10.96.${100 + Math.floor(index / 100)}.${100 + (index % 100)}`;
}
