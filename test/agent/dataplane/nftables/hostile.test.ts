import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { EndpointSliceObject, ServiceObject } from "#agent/dataplane/objects.ts";
import { TableMirror } from "#agent/dataplane/nftables/mirror.ts";
import { changeElements } from "#agent/dataplane/nftables/script.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { makeObjects, makeService, makeSlice, planOptions } from "../makers.ts";

/** What an API server could write where an address belongs: addresses, things that look like them, and anything. */
const text = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.constantFrom(
    "",
    "10.0.0.1 } drop",
    "10.0.0.1, 10.0.0.2",
    "10.0.0.1\nflush ruleset",
    "0x0a000001",
    "::ffff:1.2.3.4",
    "fe80::1%eth0",
    "10.0.0.0/8; accept",
  ),
  fc.string(),
);
const range = fc.oneof(
  fc.tuple(text, fc.integer({ min: -1, max: 129 })).map(([address, length]) => `${address}/${length}`),
  text,
);
const number = fc.oneof(
  fc.integer({ min: 1, max: 65_535 }),
  fc.constantFrom(0, -1, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY),
  fc.integer(),
);
const protocol = fc.constantFrom("TCP" as const, "UDP" as const, "SCTP" as const);
const policy = fc.constantFrom("Cluster" as const, "Local" as const);
const service: fc.Arbitrary<ServiceObject> = fc
  .record({
    name: text,
    clusterIps: fc.array(text, { maxLength: 3 }),
    externalIps: fc.array(text, { maxLength: 3 }),
    sourceRanges: fc.array(range, { maxLength: 3 }),
    ingress: fc.array(fc.record({ ip: text, mode: fc.constantFrom("VIP" as const, "Proxy" as const) }), { maxLength: 3 }),
    ports: fc.array(fc.record({ name: text, protocol, port: number, nodePort: fc.option(number, { nil: undefined }) }), { maxLength: 3 }),
    internalTrafficPolicy: policy,
    externalTrafficPolicy: policy,
    type: fc.constantFrom("ClusterIP" as const, "NodePort" as const, "LoadBalancer" as const),
    affinitySeconds: fc.option(number, { nil: undefined }),
    healthCheckNodePort: fc.option(number, { nil: undefined }),
  })
  .map((changes) => makeService(changes));

/** Slices that fit the Service's ports, so that their endpoints count. */
const sliceOf = (owner: ServiceObject): fc.Arbitrary<EndpointSliceObject> =>
  fc
    .record({
      name: text,
      family: fc.constantFrom("IPv4" as const, "IPv6" as const),
      endpoints: fc.array(
        fc.record({
          address: text,
          ready: fc.boolean(),
          serving: fc.boolean(),
          terminating: fc.boolean(),
          nodeName: fc.option(text, { nil: undefined }),
          zone: fc.option(text, { nil: undefined }),
          forZones: fc.option(fc.array(text), { nil: undefined }),
          forNodes: fc.option(fc.array(text), { nil: undefined }),
        }),
        { maxLength: 5 },
      ),
      port: number,
    })
    .map(({ port, ...changes }) =>
      makeSlice(changes.endpoints, { ...changes, service: owner.name, ports: owner.ports.map((one) => ({ ...one, port })) }),
    );
const cluster = service.chain((one) => fc.record({ service: fc.constant(one), slices: fc.array(sliceOf(one), { maxLength: 3 }) }));

describe("objects of any content", () => {
  it("are planned without a word, and bring no text of theirs into the rules", () => {
    const element = String.raw`[0-9a-f:./]+(?: \. [0-9a-f:./]+)*(?: : (?:(?:goto|jump) [a-z-]+(?:-\d+)?|drop|[0-9a-f:.]+(?: \. [0-9]+)?))?`;
    const command = new RegExp(String.raw`^add element ip6? sallyport [a-z-]+ \{ ${element}(?:, ${element})* \}$`);
    fc.assert(
      fc.property(fc.array(cluster, { maxLength: 4 }), (clusters) => {
        const objects = makeObjects(
          clusters.map((one) => one.service),
          clusters.flatMap(({ slices }) => slices),
        );
        const plan = new Planner(planOptions).plan(objects, "all");
        for (const family of ["IPv4", "IPv6"] as const) {
          const { changes } = TableMirror.adopt(plan[family].table.ports, new Map());
          const commands = changeElements(family, changes).flatMap((script) => script.split("\n"));
          expect(commands.filter((line) => !command.test(line))).toEqual([]);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
