import { describe, expect, test } from "vitest";
import { ClientAffinity } from "#agent/dataplane/userspace/affinity.ts";
import { ManualClock } from "../../manual-clock.ts";
import { endpoint } from "./tables.ts";

const [one, other] = [endpoint(1, "10.1.0.1"), endpoint(1, "10.1.0.2")];

function createAffinity(maxClients = 10): { readonly clock: ManualClock; readonly affinity: ClientAffinity } {
  const clock = new ManualClock();
  return { clock, affinity: new ClientAffinity(clock, maxClients, 10) };
}

describe("session affinity", () => {
  test("keeps a client where it went last, for the timeout from its last connection", () => {
    const { clock, affinity } = createAffinity();
    affinity.remember("a", one);
    clock.advance(9_000);
    affinity.remember("a", one);
    clock.advance(9_999);
    expect(affinity.endpointOf("a", [other, one])).toEqual(one);
    clock.advance(1);
    expect(affinity.endpointOf("a", [other, one])).toBeUndefined();
  });

  test("knows only endpoints that the client may go to", () => {
    const { affinity } = createAffinity();
    affinity.remember("a", one);
    expect(affinity.endpointOf("a", [other])).toBeUndefined();
    expect(affinity.endpointOf("a", [{ ...one, port: 2 }])).toBeUndefined();
    expect(affinity.endpointOf("b", [one, other])).toBeUndefined();
  });

  test("ends at once when the endpoint serves no more, also if it comes back", () => {
    const { affinity } = createAffinity();
    affinity.remember("a", one);
    affinity.remember("b", other);
    affinity.keepOnly([other]);
    affinity.keepOnly([one, other]);
    expect(affinity.endpointOf("a", [one, other])).toBeUndefined();
    expect(affinity.endpointOf("b", [one, other])).toEqual(other);
  });

  test("forgets the client that was silent longest when there are too many", () => {
    const { affinity } = createAffinity(2);
    affinity.remember("a", one);
    affinity.remember("b", one);
    affinity.remember("a", one);
    affinity.remember("c", one);
    expect(["a", "b", "c"].map((client) => affinity.endpointOf(client, [one]) !== undefined)).toEqual([true, false, true]);
    expect(affinity.size).toBe(2);
  });

  test("keeps no memory of clients whose time is over", () => {
    const { clock, affinity } = createAffinity();
    for (const client of ["a", "b", "c"]) affinity.remember(client, one);
    clock.advance(10_000);
    affinity.remember("d", one);
    expect(affinity.size).toBe(1);
  });

  test("counts a changed timeout for clients that are known already", () => {
    const { clock, affinity } = createAffinity();
    affinity.remember("a", one);
    clock.advance(5_000);
    affinity.timeoutSeconds = 5;
    expect(affinity.endpointOf("a", [one])).toBeUndefined();
  });
});
