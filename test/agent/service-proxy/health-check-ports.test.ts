import { describe, expect, it } from "vitest";
import type { NodePortAddresses } from "#agent/dataplane/dataplane.ts";
import { HealthCheckPorts } from "#agent/service-proxy/health-check-ports.ts";
import type { FamilyHealthCheck } from "#agent/service-proxy/health-check-ports.ts";
import type { Answer, ListenTarget } from "#agent/service-proxy/http-listener.ts";
import { ObservedClock } from "../observed-clock.ts";

function makePorts(addresses: NodePortAddresses = { type: "all" }) {
  const open = new Map<string, Answer>();
  const taken = new Set<string>();
  const failures: string[] = [];
  const clock = new ObservedClock();
  const state = { isHealthy: true };
  const nameOf = ({ host, port }: ListenTarget) => `${host} ${port}`;
  const ports = new HealthCheckPorts({
    listen: async (target, answer) => {
      const name = nameOf(target);
      if (taken.has(name) || open.has(name)) throw new Error(`${name} is taken`);
      open.set(name, answer);
      return { close: async () => void open.delete(name) };
    },
    addresses: () => addresses,
    isProxyHealthy: () => state.isHealthy,
    onFailure: ({ name }, message) => failures.push(`${name}: ${message}`),
    clock,
  });
  return { ports, open, taken, failures, clock, state };
}

function makeCheck(fields: Partial<FamilyHealthCheck> = {}): FamilyHealthCheck {
  return { family: "IPv4", namespace: "shop", name: "web", port: 32_000, localReadyEndpoints: 2, ...fields };
}

describe("health check node ports", () => {
  it("answer with the number of endpoints here, as kube-proxy does", async () => {
    const { ports, open } = makePorts();
    await ports.sync([makeCheck()]);
    expect(open.get("0.0.0.0 32000")?.("/anything")).toEqual({
      status: 200,
      contentType: "application/json",
      headers: { "x-load-balancing-endpoint-weight": "2" },
      body: '{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}',
    });
  });

  it("say 503 without an endpoint here, and while the proxy does not keep up", async () => {
    const { ports, open, state } = makePorts();
    await ports.sync([makeCheck({ localReadyEndpoints: 0 })]);
    expect(open.get("0.0.0.0 32000")?.("/")).toMatchObject({ status: 503, headers: { "x-load-balancing-endpoint-weight": "0" } });
    await ports.sync([makeCheck()]);
    expect(open.get("0.0.0.0 32000")?.("/").status).toBe(200);
    state.isHealthy = false;
    expect(open.get("0.0.0.0 32000")?.("/").status).toBe(503);
  });

  it("of a Service with both families listen in both, and count a pod once", async () => {
    const { ports, open } = makePorts();
    await ports.sync([makeCheck({ localReadyEndpoints: 1 })]);
    expect([...open.keys()]).toEqual(["0.0.0.0 32000"]);
    await ports.sync([makeCheck({ localReadyEndpoints: 1 }), makeCheck({ family: "IPv6", localReadyEndpoints: 3 })]);
    expect([...open.keys()]).toEqual(["0.0.0.0 32000", ":: 32000"]);
    expect(open.get(":: 32000")?.("/").headers).toEqual({ "x-load-balancing-endpoint-weight": "3" });
  });

  it("open, move and close with their Services", async () => {
    const { ports, open } = makePorts();
    await ports.sync([makeCheck(), makeCheck({ name: "api", port: 32_001 })]);
    await ports.sync([makeCheck({ port: 32_002 })]);
    expect([...open.keys()]).toEqual(["0.0.0.0 32002"]);
    await ports.close();
    expect(open.size).toBe(0);
  });

  it("can change hands between two Services at once", async () => {
    const { ports, open, failures } = makePorts();
    await ports.sync([makeCheck()]);
    await ports.sync([makeCheck({ name: "api" })]);
    expect([failures, open.get("0.0.0.0 32000")?.("/").body]).toEqual([[], expect.stringContaining('"name":"api"')]);
  });

  it("listen at all of some addresses, or at none", async () => {
    const { ports, open, taken } = makePorts({ type: "only", addresses: ["10.1.0.1", "10.2.0.1"] });
    taken.add("10.2.0.1 32000");
    await ports.sync([makeCheck()]);
    expect(open.size).toBe(0);
    taken.clear();
    await ports.sync([makeCheck()]);
    expect([...open.keys()]).toEqual(["10.1.0.1 32000", "10.2.0.1 32000"]);
  });

  it("that are taken are told once, and tried again until they are free", async () => {
    const { ports, open, taken, failures, clock } = makePorts();
    taken.add("0.0.0.0 32000");
    await ports.sync([makeCheck()]);
    await ports.sync([makeCheck()]);
    expect(failures).toEqual(["web: 0.0.0.0 32000 is taken"]);
    taken.clear();
    clock.advance(30_000);
    await ports.sync([makeCheck()]);
    expect([[...open.keys()], clock.waiting]).toEqual([["0.0.0.0 32000"], 0]);
  });
});
