import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { FrontendGroup, ServicePort, ServiceTable, SocketKind } from "#agent/dataplane/dataplane.ts";
import type { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { Cleanup, createDataplane, freePort, nextText, openClient, startEcho, tryConnect } from "./fixture.ts";
import { endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const atNode = { nodePortAddresses: { type: "only", addresses: [nodeAddress] } } as const;

function table(ports: readonly ServicePort[]): ServiceTable {
  return serviceTable(ports, atNode);
}

function groupOf(dataplane: UserspaceDataplane, kind: SocketKind): FrontendGroup | undefined {
  return dataplane.groups().find((group) => group.kind === kind && group.protocol === "TCP" && group.family === "IPv4");
}

describe("the sums of what frontends do", () => {
  test("go on when their Service leaves the table, with the connections that outlive it", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(table([servicePort({ nodePort, endpoints: [endpoint(echo.port)] })]));
    const client = await openClient(cleanup, { port: nodePort });
    const hello = await nextText(client);
    expect(groupOf(dataplane, "nodePort")).toMatchObject({
      states: { listening: 1, closed: 0, failed: 0 },
      counts: { connections: 1, active: 1 },
    });
    await dataplane.apply(table([]));
    client.write("still");
    await nextText(client);
    const sent = hello.length + "still".length;
    expect(groupOf(dataplane, "nodePort")).toMatchObject({
      states: { listening: 0, closed: 0, failed: 0 },
      counts: { connections: 1, active: 1, bytesFromClients: "still".length, bytesToClients: sent },
    });
    const gone = once(client, "close");
    client.end();
    await gone;
    await dataplane.apply(table([servicePort({ nodePort, endpoints: [endpoint(echo.port)] })]));
    const again = await openClient(cleanup, { port: nodePort });
    await nextText(again);
    expect(groupOf(dataplane, "nodePort")?.counts).toMatchObject({ connections: 2, bytesFromClients: "still".length });
    expect(groupOf(dataplane, "nodePort")?.counts.bytesToClients).toBe(sent + hello.length);
  });

  test("count what cannot be opened, and tell its Service and the reason", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup, { scope: "localhostNodePorts" });
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    cleanup.add(() => other.close());
    const { port } = other.address() as AddressInfo; // a TCP listener
    const wanted = table([servicePort({ portName: "http", nodePort: port, endpoints: [endpoint(echo.port)] })]);
    await dataplane.apply(wanted);
    expect(groupOf(dataplane, "localhostNodePort")).toMatchObject({ states: { listening: 0, closed: 0, failed: 1 }, bindFailures: 1 });
    const reason = `another program listens at 127.0.0.1 port ${port}: stop it, or give the Service another port`;
    expect(dataplane.failed()).toEqual([
      { family: "IPv4", kind: "localhostNodePort", protocol: "TCP", address: "127.0.0.1", port, service: "shop/web:http", reason },
    ]);
    await dataplane.verify(wanted);
    expect(groupOf(dataplane, "localhostNodePort")).toMatchObject({ states: { listening: 0, failed: 1 }, bindFailures: 2 });
  });

  test("tell those that let nobody in", async () => {
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(table([servicePort({ nodePort, endpoints: [] })]));
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNREFUSED");
    expect(groupOf(dataplane, "nodePort")?.states).toEqual({ listening: 0, closed: 1, failed: 0 });
  });

  test("count frontends that no socket can serve", async () => {
    const dataplane = createDataplane(cleanup);
    await dataplane.apply(table([servicePort({ protocol: "SCTP", endpoints: [endpoint(9)] })]));
    expect(dataplane.groups()).toMatchObject([{ kind: "clusterIp", protocol: "SCTP", states: { failed: 1 }, bindFailures: 0 }]);
  });
});
