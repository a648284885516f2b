import { createSocket, type RemoteInfo } from "node:dgram";
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "#agent/clock.ts";
import { createSockets, type Sockets } from "#agent/dataplane/userspace/dial.ts";
import { udpOneWayMs, udpStreamAfterMs, udpStreamMs, userspaceLimits } from "#agent/dataplane/userspace/limits.ts";
import type { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { ManualClock } from "../../manual-clock.ts";
import { Cleanup, createDataplane, freePort, openUdpClient, startUdpEcho } from "./fixture.ts";
import { endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

function udpTable(changes: Parameters<typeof servicePort>[0]) {
  const ports = [servicePort({ protocol: "UDP", name: "dns", ...changes })];
  return serviceTable(ports, { nodePortAddresses: { type: "only", addresses: [nodeAddress] } });
}

function countsOf(dataplane: UserspaceDataplane) {
  return dataplane.frontends().find(({ kind }) => kind === "nodePort")?.counts;
}

/** The machine's sockets, and the ends of those that were made. */
function watchedSockets(): { readonly sockets: Sockets; readonly closes: readonly Promise<unknown>[] } {
  const sockets = createSockets(systemClock);
  const closes: Promise<unknown>[] = [];
  const datagram: Sockets["datagram"] = (family) => {
    const socket = sockets.datagram(family);
    closes.push(once(socket, "close").catch(() => undefined));
    return socket;
  };
  return { sockets: { ...sockets, datagram }, closes };
}

describe("a UDP frontend", () => {
  test("answers each client from the address that was asked, and keeps its endpoint", async () => {
    const echoes = [await startUdpEcho(cleanup), await startUdpEcho(cleanup)];
    const draws = [0, 0.99];
    const dataplane = createDataplane(cleanup, { random: () => draws.shift() ?? 0 });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: echoes.map(({ port }) => endpoint(port)) }));
    const [one, other] = [await openUdpClient(cleanup), await openUdpClient(cleanup)];
    const [first = "", second = ""] = echoes.map(({ port }) => String(port));
    expect(await one.ask("a", nodePort)).toBe(`${first}:a`);
    expect(await other.ask("b", nodePort)).toBe(`${second}:b`);
    expect(await one.ask("c", nodePort)).toBe(`${first}:c`);
    expect(countsOf(dataplane)).toMatchObject({ connections: 2, active: 2, bytesFromClients: 3, refused: 0 });
  });

  test("ends a flow after 30 s without an answer, and one that goes on after 180 s", async () => {
    const echo = await startUdpEcho(cleanup);
    const clock = new ManualClock();
    const dataplane = createDataplane(cleanup, { clock });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const [brief, lasting] = [await openUdpClient(cleanup), await openUdpClient(cleanup)];
    await brief.ask("a question", nodePort);
    await lasting.ask("begin", nodePort);
    clock.advance(udpStreamAfterMs);
    await lasting.ask("go on", nodePort);
    clock.advance(udpOneWayMs - udpStreamAfterMs - 1);
    expect(countsOf(dataplane)).toMatchObject({ active: 2 });
    clock.advance(1);
    expect(countsOf(dataplane)).toMatchObject({ active: 1 });
    clock.advance(udpStreamMs - (udpOneWayMs - udpStreamAfterMs) - 1);
    expect(countsOf(dataplane)).toMatchObject({ active: 1 });
    clock.advance(1);
    expect(countsOf(dataplane)).toMatchObject({ active: 0, connections: 2 });
  });

  test("ends the flows to an endpoint that serves no more, and no others", async () => {
    const [stays, goes] = [await startUdpEcho(cleanup), await startUdpEcho(cleanup)];
    const draws = [0, 0.99];
    const dataplane = createDataplane(cleanup, { random: () => draws.shift() ?? 0 });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(stays.port), endpoint(goes.port)] }));
    const [one, other] = [await openUdpClient(cleanup), await openUdpClient(cleanup)];
    await one.ask("a", nodePort);
    await other.ask("b", nodePort);
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(stays.port)] }));
    expect(countsOf(dataplane)).toMatchObject({ active: 1 });
    expect(await other.ask("c", nodePort)).toBe(`${stays.port}:c`);
    expect(await one.ask("d", nodePort)).toBe(`${stays.port}:d`);
    // The flow that stayed has its socket still: the endpoint hears the same port.
    expect(stays.heard.at(-1)?.split(" ")[0]).toBe(stays.heard[0]?.split(" ")[0]);
  });

  test("keeps flows to an endpoint that terminates but serves", async () => {
    const [old, next] = [await startUdpEcho(cleanup), await startUdpEcho(cleanup)];
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(old.port)] }));
    const client = await openUdpClient(cleanup);
    await client.ask("a", nodePort);
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(next.port)], serving: [endpoint(old.port), endpoint(next.port)] }));
    expect(await client.ask("b", nodePort)).toBe(`${old.port}:b`);
  });

  test("chooses anew for a client whose endpoint refused", async () => {
    const echo = await startUdpEcho(cleanup);
    const dead = await freePort();
    const watched = watchedSockets();
    const draws = [0, 0.99];
    const dataplane = createDataplane(cleanup, { random: () => draws.shift() ?? 0, sockets: watched.sockets });
    const nodePort = await freePort();
    const endpoints = [endpoint(dead), endpoint(echo.port)];
    await dataplane.apply(udpTable({ nodePort, endpoints, affinitySeconds: 600 }));
    const frontends = watched.closes.length;
    const client = await openUdpClient(cleanup);
    client.socket.send("lost", nodePort, nodeAddress);
    await until(() => watched.closes.length > frontends);
    await watched.closes.at(-1);
    expect(await client.ask("again", nodePort)).toBe(`${echo.port}:again`);
  });

  test("gives the place of the oldest single question to a new flow when there is none left", async () => {
    const echo = await startUdpEcho(cleanup);
    const clock = new ManualClock();
    const dataplane = createDataplane(cleanup, { clock, limits: { ...userspaceLimits, flowsPerFrontend: 2 } });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const [lasting, brief, late] = [await openUdpClient(cleanup), await openUdpClient(cleanup), await openUdpClient(cleanup)];
    await lasting.ask("begin", nodePort);
    clock.advance(udpStreamAfterMs);
    await lasting.ask("go on", nodePort);
    await brief.ask("question", nodePort);
    await late.ask("question", nodePort);
    expect(countsOf(dataplane)).toMatchObject({ connections: 3, active: 2, refused: 0 });
    const sources = echo.heard.map((text) => text.split(" ")[0]);
    await lasting.ask("and on", nodePort);
    expect(echo.heard.at(-1)?.split(" ")[0]).toBe(sources[0]);
  });

  test("takes no further flow when all its flows go on", async () => {
    const echo = await startUdpEcho(cleanup);
    const clock = new ManualClock();
    const dataplane = createDataplane(cleanup, { clock, limits: { ...userspaceLimits, flowsPerFrontend: 1 } });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const [lasting, late] = [await openUdpClient(cleanup), await openUdpClient(cleanup)];
    await lasting.ask("begin", nodePort);
    clock.advance(udpStreamAfterMs);
    await lasting.ask("go on", nodePort);
    late.socket.send("no room", nodePort, nodeAddress);
    // Datagrams of loopback keep their order, so that the answer comes after the other was turned away.
    await lasting.ask("and on", nodePort);
    expect(countsOf(dataplane)).toMatchObject({ connections: 1, refused: 1 });
  });

  test("says nothing where the policy drops, and lets the kernel refuse where there is no endpoint", async () => {
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    const drop = { type: "drop" } as const;
    await dataplane.apply(udpTable({ nodePort, external: drop, externalFromInside: drop, internal: drop }));
    const client = createSocket("udp4");
    cleanup.add(() => client.close());
    client.connect(nodePort, nodeAddress);
    await once(client, "connect");
    client.send("dropped");
    await until(() => countsOf(dataplane)?.refused === 1);
    await dataplane.apply(udpTable({ nodePort }));
    const refusal = once(client, "error").catch((error: unknown) => error);
    client.send("refused");
    expect(await refusal).toMatchObject([{ code: "ECONNREFUSED" }]);
  });

  test("loses a datagram, not the frontend, when the system gives a flow no socket", async () => {
    const echo = await startUdpEcho(cleanup);
    const sockets = createSockets(systemClock);
    let refusals = 1;
    const dataplane = createDataplane(cleanup, {
      sockets: {
        ...sockets,
        datagram: (family) => {
          const socket = sockets.datagram(family);
          const connect = socket.connect.bind(socket);
          // What a socket does that cannot be bound: it says so before the call returns.
          const refuse = (): void => void socket.emit("error", Object.assign(new Error("bind EMFILE"), { code: "EMFILE" }));
          return Object.assign(socket, {
            connect: (port: number, address: string, done: () => void) => (refusals-- > 0 ? refuse() : connect(port, address, done)),
          });
        },
      },
    });
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const client = await openUdpClient(cleanup);
    client.socket.send("lost", nodePort, nodeAddress);
    await until(() => countsOf(dataplane)?.refused === 1);
    expect(countsOf(dataplane)).toMatchObject({ active: 0 });
    expect(await client.ask("again", nodePort)).toBe(`${echo.port}:again`);
  });

  test("takes answers from the endpoint alone", async () => {
    const server = createSocket("udp4");
    server.bind(0, nodeAddress);
    await once(server, "listening");
    cleanup.add(() => server.close());
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(udpTable({ nodePort, endpoints: [endpoint(server.address().port)] }));
    const client = await openUdpClient(cleanup);
    client.socket.send("question", nodePort, nodeAddress);
    const [, flow] = (await once(server, "message")) as [Buffer, RemoteInfo];
    const stranger = await openUdpClient(cleanup);
    stranger.socket.send("forged", flow.port, flow.address);
    const answer = once(client.socket, "message");
    server.send("genuine", flow.port, flow.address);
    expect(String((await answer)[0])).toBe("genuine");
  });
});

/** Lets the event loop turn until something is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await setImmediate();
}
