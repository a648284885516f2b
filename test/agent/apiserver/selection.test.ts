import { describe, expect, it } from "vitest";
import { hashText, orderCandidates } from "#agent/apiserver/selection.ts";
import type { Candidate } from "#agent/apiserver/selection.ts";

interface Named extends Candidate {
  readonly name: string;
}

function makeServer(name: string, server: Partial<Candidate> = {}): Named {
  return { name, seed: hashText(`https://${name}:6443`), available: true, lastResort: false, share: 1, load: 0, ...server };
}

const users = Array.from({ length: 3000 }, (_, index) => `user-${index}@example.com`);

function countFirst(servers: readonly Named[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const user of users) {
    const name = orderCandidates(servers, user)[0]?.name ?? "";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe("the order of servers", () => {
  it("is the same for the same user, however the servers are listed", () => {
    const servers = ["a", "b", "c"].map((name) => makeServer(name));
    for (const user of users.slice(0, 50)) {
      expect(orderCandidates(servers.toReversed(), user).map(({ name }) => name)).toEqual(
        orderCandidates(servers, user).map(({ name }) => name),
      );
    }
  });

  it("spreads users evenly", () => {
    for (const count of Object.values(countFirst(["a", "b", "c"].map((name) => makeServer(name))))) {
      expect(count).toBeGreaterThan(900);
      expect(count).toBeLessThan(1100);
    }
  });

  it("moves only the users of a server that goes", () => {
    const servers = ["a", "b", "c"].map((name) => makeServer(name));
    const without = servers.map((server) => (server.name === "b" ? { ...server, available: false } : server));
    const moved = users.filter((user) => orderCandidates(servers, user)[0]?.name !== orderCandidates(without, user)[0]?.name);
    expect(moved.every((user) => orderCandidates(servers, user)[0]?.name === "b")).toBe(true);
  });

  it("gives a server that came back its growing share only", () => {
    const { c } = countFirst([makeServer("a"), makeServer("b"), makeServer("c", { share: 0.1 })]);
    expect(c).toBeGreaterThan(90);
    expect(c).toBeLessThan(200); // 0.1 of 2.1 parts of 3000 is 143
  });

  it("has the last resort behind every available server, and those that are out behind that", () => {
    const servers = [
      makeServer("out", { available: false }),
      makeServer("service", { lastResort: true }),
      makeServer("a"),
      makeServer("b"),
    ];
    for (const user of users.slice(0, 50)) {
      const order = orderCandidates(servers, user).map(({ name }) => name);
      expect([order.slice(0, 2).toSorted(), order.slice(2)]).toEqual([
        ["a", "b"],
        ["service", "out"],
      ]);
    }
  });

  it("has every server even when all are out", () => {
    const servers = ["a", "b"].map((name) => makeServer(name, { available: false }));
    expect(orderCandidates(servers, "alice")).toHaveLength(2);
  });
});

describe("a user with more requests than one server should take", () => {
  it("stays with their server up to a small load", () => {
    const servers = [makeServer("a", { load: 63 }), makeServer("b")];
    const alice = users.find((user) => orderCandidates([makeServer("a"), makeServer("b")], user)[0]?.name === "a") ?? "";
    expect(orderCandidates(servers, alice)[0]?.name).toBe("a");
  });

  it("spreads 1000 watches so that no server of three has more than half", () => {
    const loads = new Map([
      ["a", 0],
      ["b", 0],
      ["c", 0],
    ]);
    for (let watch = 0; watch < 1000; watch += 1) {
      const servers = [...loads].map(([name, load]) => makeServer(name, { load }));
      const name = orderCandidates(servers, "ci")[0]?.name ?? "";
      loads.set(name, (loads.get(name) ?? 0) + 1);
    }
    expect(Math.max(...loads.values())).toBeLessThan(450);
  });
});
