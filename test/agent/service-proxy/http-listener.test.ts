import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { KeptListener, listenHttp } from "#agent/service-proxy/http-listener.ts";
import type { Answer } from "#agent/service-proxy/http-listener.ts";
import { closedPort, startTcpServer } from "../scripted-server.ts";
import { ObservedClock } from "../observed-clock.ts";

const hello: Answer = (path) => ({ status: 200, contentType: "text/plain", headers: { "x-path": path }, body: "hello" });

describe("a small HTTP server", () => {
  it("answers by path, and HEAD without a body", async () => {
    const port = await closedPort();
    const listening = await listenHttp({ host: "127.0.0.1", port }, hello);
    const response = await fetch(`http://127.0.0.1:${port}/a?b=c`);
    expect([
      response.status,
      response.headers.get("x-path"),
      response.headers.get("x-content-type-options"),
      await response.text(),
    ]).toEqual([200, "/a", "nosniff", "hello"]);
    expect(await (await fetch(`http://127.0.0.1:${port}/`, { method: "HEAD" })).text()).toBe("");
    await listening.close();
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
  });

  it("listens at one family alone where it is told to", async () => {
    const port = await closedPort();
    const four = await listenHttp({ host: "0.0.0.0", port, isOneFamily: true }, hello);
    const six = await listenHttp({ host: "::", port, isOneFamily: true }, hello);
    expect((await fetch(`http://[::1]:${port}/`)).status).toBe(200);
    await six.close();
    await expect(fetch(`http://[::1]:${port}/`)).rejects.toThrow();
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
    await four.close();
  });

  it.each(["0.0.0.0", "::"])("takes %s for all addresses of both families, as kube-proxy does", async (host) => {
    const port = await closedPort();
    const listening = await listenHttp({ host, port }, hello);
    const statuses = await Promise.all(["127.0.0.1", "[::1]"].map(async (address) => (await fetch(`http://${address}:${port}/`)).status));
    expect(statuses).toEqual([200, 200]);
    await listening.close();
  });

  it("hangs up on what is not HTTP", async () => {
    const port = await closedPort();
    const listening = await listenHttp({ host: "127.0.0.1", port }, hello);
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write("\u0000\u0001 nonsense\r\n\r\n");
    socket.resume();
    await once(socket, "close");
    await listening.close();
  });

  it("rejects when the address is taken", async () => {
    const taken = await startTcpServer(() => undefined);
    await expect(listenHttp({ host: "127.0.0.1", port: taken.port }, hello)).rejects.toThrow("EADDRINUSE");
    await taken.close();
  });
});

describe("a server that goes on trying", () => {
  it("listens once the address is free", async () => {
    const taken = await startTcpServer(() => undefined);
    const clock = new ObservedClock();
    const failures: string[] = [];
    const succeeded = Promise.withResolvers<undefined>();
    const kept = new KeptListener({
      listen: async (target, answer) => {
        const listening = await listenHttp(target, answer);
        succeeded.resolve(undefined);
        return listening;
      },
      target: { host: "127.0.0.1", port: taken.port },
      answer: hello,
      clock,
      onFailure: (message) => failures.push(message),
    });
    expect([await kept.start(), failures]).toEqual([false, [expect.stringContaining("EADDRINUSE")]]);
    await taken.close();
    clock.advance(5_000);
    await succeeded.promise;
    expect((await fetch(`http://127.0.0.1:${taken.port}/`)).status).toBe(200);
    await kept.close();
  });

  it("stops trying when it is closed", async () => {
    const clock = new ObservedClock();
    const kept = new KeptListener({
      listen: async () => {
        throw new Error("no");
      },
      target: { host: "127.0.0.1", port: 1 },
      answer: hello,
      clock,
      onFailure: () => undefined,
    });
    await kept.start();
    await kept.close();
    expect(clock.waiting).toBe(0);
  });
});
