import { afterEach, describe, expect, it } from "vitest";
import { createReadyzProbe } from "#agent/apiserver/probe.ts";
import { ManualClock } from "../manual-clock.ts";
import { readHead, startHttpServer, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { plainTls } from "./pool-maker.ts";

const servers: ScriptedServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map(async (server) => server.close()));
});

async function keep(starting: Promise<ScriptedServer>): Promise<ScriptedServer> {
  const server = await starting;
  servers.push(server);
  return server;
}

describe("a probe of /readyz", () => {
  it.each([
    [200, "ready"],
    [401, "ready"],
    [403, "ready"],
    [500, "notReady"],
    [503, "notReady"],
  ] as const)("of %i says %s, and carries the agent's credential", async (status, wanted) => {
    const seen: (string | undefined)[] = [];
    const server = await keep(
      startHttpServer((request, response) => {
        seen.push(request.url, request.headers.authorization);
        response.writeHead(status).end("[-]etcd failed");
      }),
    );
    const clock = new ManualClock();
    const connection = {
      address: { url: server.url, ca: undefined, serverName: undefined },
      tls: () => plainTls,
      clock,
      random: () => 0.5,
    };
    const probe = createReadyzProbe({ connection, clock, authorization: async () => "Bearer own" });
    expect([await probe.ask(), await probe.ask(), server.connections(), clock.waiting]).toEqual([wanted, wanted, 1, 0]);
    expect(seen.slice(0, 2)).toEqual(["/readyz", "Bearer own"]);
    await probe.close();
  });

  it("tells when the server ends, and that nothing listens there then", async () => {
    const server = await startHttpServer((_request, response) => void response.end());
    const clock = new ManualClock();
    const address = { url: server.url, ca: undefined, serverName: undefined };
    const connection = { address, tls: () => plainTls, clock, random: () => 0.5 };
    const probe = createReadyzProbe({ connection, clock, authorization: async () => undefined });
    const lost = Promise.withResolvers<undefined>();
    probe.onLost = () => lost.resolve(undefined);
    expect(await probe.ask()).toBe("ready");
    await server.close();
    await lost.promise;
    expect(await probe.ask()).toBe("refused");
    await probe.close();
  });

  it("gives up after a second without an answer", async () => {
    const arrived = Promise.withResolvers<undefined>();
    const server = await keep(startTcpServer((socket) => void readHead(socket).then(() => arrived.resolve(undefined))));
    const clock = new ManualClock();
    const connection = {
      address: { url: server.url, ca: undefined, serverName: undefined },
      tls: () => plainTls,
      clock,
      random: () => 0.5,
    };
    const probe = createReadyzProbe({ connection, clock, authorization: async () => undefined });
    const asked = probe.ask();
    await arrived.promise;
    clock.advance(1000);
    expect(await asked).toBe("unreachable");
    await probe.close();
  });
});
