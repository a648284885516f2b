import { once } from "node:events";
import { createServer } from "node:net";
import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { bindRetryMs } from "#agent/dataplane/userspace/limits.ts";
import { createSockets } from "#agent/dataplane/userspace/dial.ts";
import { systemClock } from "#agent/clock.ts";
import type { FrontendReport } from "#agent/dataplane/userspace/family-dataplane.ts";
import type { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { ManualClock } from "../../manual-clock.ts";
import { Cleanup, createDataplane, freePort, nextText, openClient, reachedPort, startEcho, tryConnect } from "./fixture.ts";
import { balance, endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const atNode = { nodePortAddresses: { type: "only", addresses: [nodeAddress] } } as const;

function report(dataplane: UserspaceDataplane, port: number): FrontendReport | undefined {
  return dataplane.frontends().find((frontend) => frontend.port === port);
}

describe("a userspace dataplane", () => {
  test("does nothing when a table says the same again", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    const table = () => serviceTable([servicePort({ nodePort, endpoints: [endpoint(echo.port)] })], atNode);
    expect(await dataplane.apply(table())).toEqual({ type: "applied", changes: 2 });
    const client = await openClient(cleanup, { port: nodePort });
    await nextText(client);
    expect(await dataplane.apply(table())).toEqual({ type: "applied", changes: 0 });
    expect(await dataplane.verify(table())).toEqual({ type: "applied", changes: 0 });
    client.write("still");
    expect(await nextText(client)).toBe("still");
  });

  test("keeps TCP connections when their endpoint leaves, when all do, and when the Service goes", async () => {
    const [one, other] = [await startEcho(cleanup), await startEcho(cleanup)];
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    const apply = (...ports: readonly number[]) =>
      dataplane.apply(serviceTable([servicePort({ nodePort, endpoints: ports.map((port) => endpoint(port)) })], atNode));
    await apply(one.port);
    const client = await openClient(cleanup, { port: nodePort });
    await nextText(client);
    await apply(other.port);
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(other.port);
    await apply();
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNREFUSED");
    expect(report(dataplane, nodePort)?.state).toEqual({ type: "closed", outcome: "reject" });
    await dataplane.apply(serviceTable([]));
    expect(dataplane.frontends()).toEqual([]);
    client.write("still here");
    expect(await nextText(client)).toBe("still here");
  });

  test("refuses TCP clients where the policy drops, and takes them again later", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    const drop = { type: "drop" } as const;
    const serving = [endpoint(echo.port)];
    await dataplane.apply(serviceTable([servicePort({ nodePort, external: drop, externalFromInside: drop, serving })], atNode));
    expect(report(dataplane, nodePort)?.state).toEqual({ type: "closed", outcome: "drop" });
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNREFUSED");
    const mixed = servicePort({ nodePort, external: drop, externalFromInside: balance(...serving), serving });
    await dataplane.apply(serviceTable([mixed], atNode));
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(echo.port);
  });

  test("says why a frontend failed, serves the others, and tries it again by itself", async () => {
    const echo = await startEcho(cleanup);
    const clock = new ManualClock();
    const dataplane = createDataplane(cleanup, { clock, sockets: createSockets(systemClock) });
    const taken = createServer().listen(0, nodeAddress);
    await once(taken, "listening");
    const { port: takenPort } = taken.address() as { port: number };
    const nodePort = await freePort();
    const endpoints = [endpoint(echo.port)];
    const ports = [
      servicePort({ name: "unlucky", nodePort: takenPort, endpoints }),
      servicePort({ nodePort, endpoints, externalIps: ["192.0.2.77"] }),
    ];
    expect(await dataplane.apply(serviceTable(ports, atNode))).toMatchObject({ type: "applied" });
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(echo.port);
    const reasons = dataplane.frontends().flatMap(({ state }) => (state.type === "failed" ? [state.reason] : []));
    const noClusterIp =
      "192.0.2.1 is no address of this machine: run `ip route add local 192.0.2.0/24 dev lo` once as root, for all cluster IPs";
    expect(reasons).toEqual([
      noClusterIp,
      `another program listens at ${nodeAddress} port ${takenPort}: stop it, or give the Service another port`,
      "192.0.2.77 is no address of this machine: give it to an interface, or run `ip route add local 192.0.2.77 dev lo` as root",
      "shop/unlucky has this address and port already",
    ]);
    taken.close();
    await once(taken, "close");
    clock.advance(bindRetryMs - 1);
    // Tables that come meanwhile neither try it nor put it off.
    await dataplane.apply(serviceTable(ports, atNode));
    expect(report(dataplane, takenPort)?.state.type).toBe("failed");
    clock.advance(1);
    while (report(dataplane, takenPort)?.state.type !== "listening") await setImmediate();
    expect(await reachedPort(cleanup, { port: takenPort })).toBe(echo.port);
  });

  test("serves node ports on localhost and nothing else in that scope", async () => {
    const [inside, outside] = [await startEcho(cleanup), await startEcho(cleanup)];
    const dataplane = createDataplane(cleanup, { scope: "localhostNodePorts" });
    const nodePort = await freePort("127.0.0.1");
    const external = balance(endpoint(outside.port));
    const port = servicePort({ nodePort, externalIps: ["127.0.0.7"], endpoints: [endpoint(inside.port)], external });
    await dataplane.apply(serviceTable([port], { nodePortAddresses: { type: "all" } }));
    expect(dataplane.frontends().map(({ kind, address }) => ({ kind, address }))).toEqual([{ kind: "nodePort", address: "127.0.0.1" }]);
    expect(await reachedPort(cleanup, { port: nodePort, host: "127.0.0.1" })).toBe(inside.port);
    expect(await tryConnect(cleanup, { port: nodePort, host: "127.0.0.2" })).toBe("ECONNREFUSED");
  });

  test("keeps one client at one endpoint through all frontends of a Service port, as long as that endpoint is there", async () => {
    const echoes = [await startEcho(cleanup), await startEcho(cleanup), await startEcho(cleanup)];
    const clock = new ManualClock();
    const draws = [0, 0.99, 0.99, 0.99, 0.5];
    const dataplane = createDataplane(cleanup, { clock, random: () => draws.shift() ?? 0 });
    const [nodePort, port] = [await freePort(), await freePort("127.0.0.7")];
    const [first, second, third] = echoes.map((echo) => echo.port);
    const apply = (used: readonly { readonly port: number }[]) => {
      const endpoints = used.map((echo) => endpoint(echo.port));
      return dataplane.apply(
        serviceTable([servicePort({ nodePort, port, externalIps: ["127.0.0.7"], affinitySeconds: 10, endpoints })], atNode),
      );
    };
    await apply(echoes);
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(first);
    expect(await reachedPort(cleanup, { port, host: "127.0.0.7" })).toBe(first);
    expect(await reachedPort(cleanup, { port: nodePort, from: "127.0.0.8" })).toBe(third);
    await apply(echoes.slice(1));
    await apply(echoes);
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(third);
    clock.advance(9_999);
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(third);
    clock.advance(10_000);
    draws.splice(0, draws.length, 0.5);
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(second);
  });

  test("ends all connections when it is closed", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(serviceTable([servicePort({ nodePort, endpoints: [endpoint(echo.port)] })], atNode));
    const client = await openClient(cleanup, { port: nodePort });
    const broken = once(client, "error").catch((error: unknown) => error);
    await nextText(client);
    await dataplane.close();
    expect(await broken).toMatchObject([{ code: "ECONNRESET" }]);
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNREFUSED");
    expect(await dataplane.apply(serviceTable([]))).toEqual({ type: "failed", message: "the dataplane is closed" });
  });

  test("leaves one family's frontends alone when the other's table comes", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(serviceTable([servicePort({ nodePort, endpoints: [endpoint(echo.port)] })], atNode));
    expect(await dataplane.apply(serviceTable([], { family: "IPv6" }))).toEqual({ type: "applied", changes: 0 });
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(echo.port);
  });

  test("serves IPv6 beside a program that has the port on IPv4", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup, { scope: "localhostNodePorts" });
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    cleanup.add(() => other.close());
    const { port: nodePort } = other.address() as { port: number };
    // The endpoint's family is the planner's affair; loopback has one address of IPv6 only, which is the frontend's.
    const port = servicePort({
      family: "IPv6",
      clusterIp: "2001:db8::1",
      nodePort,
      endpoints: [endpoint(echo.port, `::ffff:${nodeAddress}`)],
    });
    await dataplane.apply(serviceTable([port], { family: "IPv6", serviceCidrs: ["2001:db8::/108"] }));
    expect(await reachedPort(cleanup, { port: nodePort, host: "::1", from: "::1" })).toBe(echo.port);
  });
});
