/** Memory that one slow or greedy client can bind, and how long a removed cluster's agent stays. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { RawConnection } from "#test/support/raw-connection.ts";
import { openSocket } from "#test/support/client-socket.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

test("a client that does not read holds back the apiserver, and costs no other user anything", async () => {
  const chunk = Buffer.alloc(1 << 20);
  let written = 0;
  system.apiserver.onRequest = (request, response) => {
    if (request.url !== "/api/v1/pods") return void response.end("{}");
    response.writeHead(200);
    const pump = () => {
      while (written < 1 << 30 && response.write(chunk)) written += chunk.length;
      written += chunk.length;
    };
    response.on("drain", pump);
    pump();
  };
  const connection = await RawConnection.open(system.gateway);
  connection.write(
    `GET /k/one/api/v1/pods HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${await system.cluster.token("slow")}\r\n\r\n`,
  );
  await connection.until((received) => received.length > 1000);
  connection.pause();
  const token = await system.cluster.token("alice");
  // The other user's requests are the clock: what has not come through by then is held back.
  for (let index = 0; index < 200; index++) {
    const answer = await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
    expect(answer.status).toBe(200);
  }
  expect(written).toBeLessThan(128 << 20);
  connection.reset();
});

test.each<readonly [string, Buffer]>([
  ["large messages", Buffer.concat([Buffer.from([0x82, 126, 0xff, 0xff]), Buffer.alloc(65_535, 1)])],
  ["messages of one byte", Buffer.from("8201aa".repeat(20_000), "hex")],
])(
  "a WebSocket client that does not read holds back an application that floods it, and costs no other user anything: %s",
  async (_name, flood) => {
    const { promise, resolve } = Promise.withResolvers<Duplex>();
    system.apiserver.onRequest = (_request, response) => void response.end("{}");
    system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head).then(() => resolve(socket));
    const client = await openSocket(system.gateway, "/k/one/api/v1/namespaces/web/services/app/proxy/ws", {
      token: await system.cluster.token("slow"),
    });
    client.socket.pause();
    const far = await promise;
    let written = 0;
    const pump = () => {
      do written += flood.length;
      while (written < 1 << 30 && far.write(flood));
    };
    far.on("drain", pump);
    pump();
    const token = await system.cluster.token("alice");
    // The other user's requests are the clock: what has not come through by then is held back.
    const askSome = async (count: number) => {
      for (let index = 0; index < count; index++)
        expect((await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token })).status).toBe(200);
    };
    await askSome(400);
    const held = written;
    await askSome(100);
    expect(written).toBe(held);
    expect(held).toBeLessThan(64 << 20);
    client.socket.terminate();
  },
);

test("an application that sends nothing but empty messages loses its connection, and costs no other user anything", async () => {
  const { promise, resolve } = Promise.withResolvers<Duplex>();
  system.apiserver.onRequest = (_request, response) => void response.end("{}");
  system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head).then(() => resolve(socket));
  const token = await system.cluster.token("slow");
  const client = await openSocket(system.gateway, "/k/one/api/v1/namespaces/web/services/app/proxy/ws", { token });
  const far = await promise;
  far.write(Buffer.from("8200".repeat(100_000), "hex"));
  expect((await client.closed).code).toBe(1011);
  expect((await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token })).status).toBe(200);
  expect(system.gateway.lines.filter((line) => line.includes('"event":"agent-refused"'))).toEqual([]);
});

test("a WebSocket message of more than 32 MiB ends its stream, and nothing else", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  system.apiserver.onUpgrade = (request, socket, head) =>
    void acceptWebSocket(request, socket, head, "v5.channel.k8s.io").then((far) => once(far, "close").then(() => resolve()));
  const token = await system.cluster.token("alice");
  const client = await openSocket(system.gateway, "/k/one/api/v1/namespaces/web/pods/p/exec?command=cat", {
    token,
    protocols: ["v5.channel.k8s.io"],
  });
  client.socket.on("error", () => undefined); // the gateway may close while this still sends
  client.socket.send(Buffer.alloc(40 << 20));
  await client.closed;
  await promise;
  expect((await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token })).status).toBe(200);
});

test("the agent of a removed cluster loses its tunnel at once, and cannot come back", async () => {
  const token = await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  expect((await ask(system.gateway, "/gateway/v1/clusters/one", { method: "DELETE", token })).status).toBe(204);
  expect(await system.agent.waitFor(/the cluster was removed/)).toContain("refused");
  expect(await system.agent.waitFor(/the gateway answered 404/)).toContain("CLUSTER_UNKNOWN");
});
