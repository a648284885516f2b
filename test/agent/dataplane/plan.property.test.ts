import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ServicePort } from "#agent/dataplane/dataplane.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { service, slice, step, take, toObjects } from "./arbitraries.ts";
import { makeObjects, planOptions } from "./makers.ts";

describe("planning step by step", () => {
  it("comes to the same as planning everything, and keeps every port that did not change", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const state = { services: new Map(), slices: new Map() };
        const planner = new Planner(planOptions);
        let before: readonly ServicePort[] = planner.plan(toObjects(state), "all").IPv4.table.ports;
        for (const one of steps) {
          const changed = take(state, one);
          const objects = toObjects(state);
          const plan = planner.plan(objects, new Set([changed])).IPv4;
          const whole = new Planner(planOptions).plan(objects, "all").IPv4;
          expect(sorted(plan.table.ports)).toEqual(sorted(whole.table.ports));
          expect(new Set(plan.healthChecks)).toEqual(new Set(whole.healthChecks));
          for (const port of plan.table.ports) expect(before.filter((old) => old !== port && isEqual(old, port))).toEqual([]);
          before = plan.table.ports;
        }
      }),
    );
  });

  it("gives every address and port to one Service, and balances over at least one endpoint", () => {
    fc.assert(
      fc.property(fc.array(service), fc.array(slice), (services, slices) => {
        const { ports } = new Planner(planOptions).plan(makeObjects(services, slices), "all").IPv4.table;
        const frontends = ports.flatMap((port) => [
          ...[port.clusterIp, ...port.externalIps, ...port.loadBalancerIps].map((ip) => `${ip} ${port.port}`),
          ...(port.nodePort === undefined ? [] : [`${port.nodePort}`]),
        ]);
        expect(new Set(frontends).size).toBe(frontends.length);
        const outcomes = ports.flatMap(({ internal, external, externalFromInside }) => [internal, external, externalFromInside]);
        expect(outcomes.filter((outcome) => outcome.type === "balance" && outcome.endpoints.length === 0)).toEqual([]);
      }),
    );
  });
});

function sorted(ports: readonly ServicePort[]): readonly ServicePort[] {
  return ports.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

function isEqual(one: ServicePort, other: ServicePort): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
