import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { userspaceLimits } from "#agent/dataplane/userspace/limits.ts";
import { createOrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";
import type { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { Budget } from "#agent/dataplane/userspace/listener.ts";
import {
  Cleanup,
  createDataplane,
  errorOf,
  failingSockets,
  freePort,
  nextText,
  openClient,
  reachedPort,
  readAll,
  startEcho,
  startTcpEndpoint,
  tryConnect,
} from "./fixture.ts";
import { balance, endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A table with one node port. */
function nodePortTable(changes: Parameters<typeof servicePort>[0]) {
  return serviceTable([servicePort(changes)], { nodePortAddresses: { type: "only", addresses: [nodeAddress] } });
}

function countsOf(dataplane: UserspaceDataplane) {
  return dataplane.frontends().find(({ kind }) => kind !== "clusterIp")?.counts;
}

describe("a TCP frontend", () => {
  test("joins clients with endpoints and counts what passes", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const client = await openClient(cleanup, { port: nodePort });
    client.end("hello");
    expect(await readAll(client)).toBe(`${echo.port};hello`);
    await once(client, "close");
    const report = dataplane.frontends().find(({ kind }) => kind === "nodePort");
    expect(report?.state).toEqual({ type: "listening" });
    expect(report?.counts).toEqual({
      connections: 1,
      active: 0,
      bytesFromClients: 5,
      bytesToClients: `${echo.port};hello`.length,
      refused: 0,
      failovers: 0,
    });
  });

  test("spreads connections over all endpoints", async () => {
    const echoes = [await startEcho(cleanup), await startEcho(cleanup), await startEcho(cleanup)];
    const draws = [0, 0.4, 0.99];
    let drawn = 0;
    const dataplane = createDataplane(cleanup, { random: () => draws[drawn++ % draws.length] ?? 0 });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: echoes.map(({ port }) => endpoint(port)) }));
    const reached = new Set<number>();
    for (const _ of draws) reached.add(await reachedPort(cleanup, { port: nodePort }));
    expect(reached).toEqual(new Set(echoes.map(({ port }) => port)));
  });

  test("asks every other endpoint once when one refuses", async () => {
    const echo = await startEcho(cleanup);
    const dead = [await freePort(), await freePort()];
    const dataplane = createDataplane(cleanup, { random: () => 0 });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [dead[0] ?? 0, echo.port, dead[1] ?? 0].map((port) => endpoint(port)) }));
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(echo.port);
    expect(countsOf(dataplane)).toMatchObject({ failovers: 2, refused: 0 });
  });

  test("resets the client when no endpoint takes the connection", async () => {
    const dialled: number[] = [];
    const sockets = failingSockets((port) => dialled.push(port) > 0);
    const dataplane = createDataplane(cleanup, { sockets });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(1), endpoint(2), endpoint(3)] }));
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    expect(dialled.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
    expect(countsOf(dataplane)).toMatchObject({ refused: 1, connections: 0 });
  });

  test("hands on half-closes in both directions", async () => {
    const upload = Promise.withResolvers<string>();
    const server = await startTcpEndpoint(cleanup, (socket) => {
      socket.end("goodbye");
      readAll(socket).then(upload.resolve, upload.reject);
    });
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(server.port)] }));
    const client = await openClient(cleanup, { port: nodePort });
    expect(await readAll(client)).toBe("goodbye");
    client.end("still talking");
    expect(await upload.promise).toBe("still talking");
  });

  test("hands on resets in both directions, so that half an upload never looks whole", async () => {
    const server = await startTcpEndpoint(cleanup, (socket) => socket.resume());
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(server.port)] }));

    const first = await openClient(cleanup, { port: nodePort });
    const firstUpstream = await server.next();
    first.write("half");
    await once(firstUpstream, "data");
    const upstreamError = errorOf(firstUpstream);
    first.resetAndDestroy();
    expect(await upstreamError).toBe("ECONNRESET");

    const second = await openClient(cleanup, { port: nodePort });
    const clientError = errorOf(second);
    (await server.next()).resetAndDestroy();
    expect(await clientError).toBe("ECONNRESET");
  });

  test("gives several slow readers exactly the bytes that were sent to each", async () => {
    const block = 32 << 10;
    const blocks = 256;
    // Each connection gets numbers of its own, so that bytes of a reused buffer would show.
    const server = await startTcpEndpoint(cleanup, (socket) => {
      socket.once("data", ([client = 0]) => {
        for (let index = 0; index < blocks; index++) socket.write(Buffer.alloc(block, (client * 7 + index) & 255));
        socket.end();
      });
    });
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(server.port)] }));
    const readSlowly = async (number: number): Promise<{ readonly bytes: number; readonly wrong: number }> => {
      const client = await openClient(cleanup, { port: nodePort });
      client.write(Buffer.of(number));
      let wrong = 0;
      let at = 0;
      for await (const chunk of client) {
        // A socket without encoding gives buffers.
        for (const byte of chunk as Buffer) {
          if (byte !== ((number * 7 + Math.floor(at / block)) & 255)) wrong += 1;
          at += 1;
        }
        for (let turn = 0; turn < (at >> 14) % 5; turn++) await setImmediate();
      }
      return { bytes: at, wrong };
    };
    const wanted = { bytes: block * blocks, wrong: 0 };
    expect(await Promise.all([1, 2, 3].map(readSlowly))).toEqual([wanted, wanted, wanted]);
  });

  test("passes backpressure on to the sender", async () => {
    const server = await startTcpEndpoint(cleanup, (socket) => socket.pause());
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(server.port)] }));
    const client = await openClient(cleanup, { port: nodePort });
    const totalBytes = 64 << 20;
    client.end(Buffer.alloc(totalBytes));
    let received = 0;
    let largestLead = 0;
    // A proxy without backpressure reads a piece in every turn of the event loop, this endpoint in every eighth.
    for await (const chunk of await server.next()) {
      received += Buffer.from(chunk as Buffer).length;
      largestLead = Math.max(largestLead, (countsOf(dataplane)?.bytesFromClients ?? 0) - received);
      for (let turn = 0; turn < 8; turn++) await setImmediate();
    }
    expect(received).toBe(totalBytes);
    // What the kernel's buffers and one piece in each direction hold.
    expect(largestLead).toBeLessThan(totalBytes / 2);
  });

  test("takes no more clients than its limit, and takes clients again when some have gone", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup, { limits: { ...userspaceLimits, connectionsPerFrontend: 1 } });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    const first = await openClient(cleanup, { port: nodePort });
    await nextText(first);
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    first.end();
    await once(first, "close");
    expect(await reachedPort(cleanup, { port: nodePort })).toBe(echo.port);
  });

  test("shares one limit of connections with the other dataplanes of the process", async () => {
    const echo = await startEcho(cleanup);
    const budgets = { connections: new Budget(1), flows: new Budget(1) };
    const ports = [await freePort(), await freePort()];
    for (const nodePort of ports) {
      const dataplane = createDataplane(cleanup, { budgets });
      await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    }
    const [one = 0, other = 0] = ports;
    const first = await openClient(cleanup, { port: one });
    await nextText(first);
    expect(await tryConnect(cleanup, { port: other })).toBe("ECONNRESET");
  });

  test("tells the pod its client by the PROXY protocol where the Service asks for it", async () => {
    const server = await startTcpEndpoint(cleanup, (socket) => socket.pipe(socket));
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, proxyProtocol: "v1", endpoints: [endpoint(server.port)] }));
    const client = await openClient(cleanup, { port: nodePort, from: "127.0.0.9" });
    const { localPort } = client;
    client.end("GET");
    expect(await readAll(client)).toBe(`PROXY TCP4 127.0.0.9 ${nodeAddress} ${localPort} ${nodePort}\r\nGET`);
  });

  test("never dials a frontend of its own, so that a Service cannot lead to itself", async () => {
    const dataplane = createDataplane(cleanup);
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(nodePort)] }));
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    expect(countsOf(dataplane)).toMatchObject({ connections: 0, refused: 1 });
  });

  test("never dials the node's own loopback for an endpoint that says so", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup, { isOrdinary: createOrdinaryAddress() });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(echo.port)] }));
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    expect(countsOf(dataplane)).toMatchObject({ connections: 0, refused: 1 });
  });

  test("asks no endpoint that left the table while another was asked", async () => {
    const echo = await startEcho(cleanup);
    const dialled: number[] = [];
    const nodePort = await freePort();
    const dataplane = createDataplane(cleanup, {
      random: () => 0,
      sockets: {
        ...failingSockets(() => true),
        dial: async ({ port }) => {
          dialled.push(port);
          await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(1)] }));
          return { type: "failed", reason: "scripted" };
        },
      },
    });
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(1), endpoint(echo.port)] }));
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    expect(dialled).toEqual([1]);
  });

  test("drops what it dialled when the Service went meanwhile", async () => {
    const server = await startTcpEndpoint(cleanup, (socket) => socket.resume());
    const sockets = failingSockets(() => false);
    const dataplane = createDataplane(cleanup, {
      sockets: {
        ...sockets,
        dial: async (to) => {
          const result = await sockets.dial(to);
          await dataplane.apply(serviceTable([]));
          return result;
        },
      },
    });
    const nodePort = await freePort();
    await dataplane.apply(nodePortTable({ nodePort, endpoints: [endpoint(server.port)] }));
    const upstreamError = server.next().then(errorOf);
    expect(await tryConnect(cleanup, { port: nodePort })).toBe("ECONNRESET");
    expect(await upstreamError).toBe("ECONNRESET");
  });

  test("lets in whom the source ranges of a load balancer allow", async () => {
    const echo = await startEcho(cleanup);
    const dataplane = createDataplane(cleanup);
    const port = await freePort("127.0.0.7");
    const changes = {
      port,
      loadBalancerIps: ["127.0.0.7"],
      sourceRanges: ["127.0.0.8/32", "not a range"],
      endpoints: [endpoint(echo.port)],
    };
    await dataplane.apply(serviceTable([servicePort(changes)]));
    expect(await reachedPort(cleanup, { port, host: "127.0.0.7", from: "127.0.0.8" })).toBe(echo.port);
    expect(await tryConnect(cleanup, { port, host: "127.0.0.7", from: "127.0.0.9" })).toBe("ECONNRESET");
  });

  test("sends clients from outside and from inside where the policy wants them", async () => {
    const [local, remote] = [await startEcho(cleanup), await startEcho(cleanup)];
    const dataplane = createDataplane(cleanup);
    const port = await freePort("127.0.0.7");
    const service = servicePort({
      port,
      externalIps: ["127.0.0.7"],
      external: balance(endpoint(local.port)),
      externalFromInside: balance(endpoint(remote.port)),
      serving: [endpoint(local.port), endpoint(remote.port)],
    });
    await dataplane.apply(serviceTable([service]));
    // Every address of this test is on loopback, and what comes from there comes from inside.
    expect(await reachedPort(cleanup, { port, host: "127.0.0.7", from: "127.0.0.8" })).toBe(remote.port);
  });
});
