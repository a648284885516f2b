import { once } from "node:events";
import { createServer } from "node:https";
import type { Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ApiserverPool, ClientTls } from "#agent/apiserver/upstream.ts";
import { createAuthority } from "./certificates.ts";
import type { Authority, Issued } from "./certificates.ts";
import { codeOf, makePool, makeRequest, plainTls, readAll } from "./pool-maker.ts";

let authority: Authority;
let stranger: Authority;
let agent: Issued;
let server: Server;
let url: string;
let pool: ApiserverPool | undefined;
/** The name in each handshake and the client's certificate's subject. */
const seen: string[] = [];

beforeAll(async () => {
  authority = await createAuthority("cluster");
  stranger = await createAuthority("stranger");
  agent = await authority.issue("sallyport-agent", []);
  const { certificate, key } = await authority.issue("kube-apiserver", ["kubernetes.default.svc", "localhost"]);
  server = createServer(
    { cert: certificate, key, ca: authority.certificate, requestCert: true, rejectUnauthorized: false },
    (_request, response) => response.end("tls"),
  );
  server.on("secureConnection", (socket: TLSSocket) => {
    seen.push(`${String(socket.servername)} ${String(socket.getPeerCertificate().subject?.CN ?? "nobody")}`);
  });
  const websockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => websockets.handleUpgrade(request, socket, head, () => undefined));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`; // a listening TCP server has one
});

afterEach(async () => {
  await pool?.close();
  seen.length = 0;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function poolWith(tls: Partial<ClientTls>, address: { readonly ca?: string; readonly serverName?: string } = {}): ApiserverPool {
  pool = makePool([], {
    servers: [{ url, ca: address.ca, serverName: address.serverName }],
    tls: () => trusted(tls),
  });
  return pool;
}

const made = new Map<Partial<ClientTls>, ClientTls>();

/** The same object for the same input, as credentials give it. */
function trusted(tls: Partial<ClientTls>): ClientTls {
  const known = made.get(tls) ?? { ...plainTls, ...tls };
  made.set(tls, known);
  return known;
}

const name = "kubernetes.default.svc";

describe("the apiserver's certificate", () => {
  it.each([
    ["of the credentials' authority, with the expected name", () => poolWith({ ca: authority.certificate, serverName: name }), true],
    [
      "of the address' own authority and name",
      () => poolWith({ ca: stranger.certificate, serverName: "other" }, { ca: authority.certificate, serverName: name }),
      true,
    ],
    ["of another authority", () => poolWith({ ca: stranger.certificate, serverName: name }), false],
    ["of an authority that only the system could know", () => poolWith({ serverName: name }), false],
    ["with another name", () => poolWith({ ca: authority.certificate, serverName: "kubernetes.example" }), false],
    ["without the address that was dialled", () => poolWith({ ca: authority.certificate }), false],
    ["of another authority, where the kubeconfig says insecure", () => poolWith({ ca: undefined, insecure: true }), true],
  ])("%s is judged right", async (_what, create, accepted) => {
    const against = create();
    const plain = await codeOf(against.request(makeRequest()).then(async ({ body }) => readAll(body)));
    const upgraded = await codeOf(against.upgrade(makeRequest({ longRunning: true })));
    const wanted = accepted ? "fulfilled" : "UPSTREAM_UNREACHABLE";
    expect([plain, upgraded]).toEqual([wanted, wanted]);
  });
});

it("the agent's own certificate is shown on requests and upgrades", async () => {
  const against = poolWith({ ca: authority.certificate, serverName: name, certificate: agent.certificate, key: agent.key });
  await readAll((await against.request(makeRequest())).body);
  await against.upgrade(makeRequest({ longRunning: true }));
  expect(seen).toEqual([`${name} sallyport-agent`, `${name} sallyport-agent`]);
});

it("a client certificate that was renewed replaces idle connections that showed the old one", async () => {
  let current: ClientTls = { ...plainTls, ca: authority.certificate, serverName: name, certificate: agent.certificate, key: agent.key };
  pool = makePool([], { servers: [{ url, ca: undefined, serverName: undefined }], tls: () => current });
  const against = pool;
  await readAll((await against.request(makeRequest())).body);
  const renewed = await authority.issue("renewed-agent", []);
  current = { ...current, certificate: renewed.certificate, key: renewed.key };
  await readAll((await against.request(makeRequest())).body);
  expect(seen).toEqual([`${name} sallyport-agent`, `${name} renewed-agent`]);
});

it("a request to a server whose certificate is wrong was never sent, so any method may go to another", async () => {
  const address = { url, ca: undefined, serverName: undefined };
  pool = makePool([], {
    servers: [
      { ...address, serverName: "wrong.example" },
      { ...address, url: url.replace("127.0.0.1", "localhost"), serverName: name },
    ],
    tls: () => trusted(posts),
  });
  for (const affinity of ["a", "b", "c", "d"]) {
    const response = await pool.request(makeRequest({ method: "POST", affinity }));
    expect(await readAll(response.body)).toBe("tls");
  }
});

const posts: Partial<ClientTls> = {
  get ca(): string {
    return authority.certificate;
  },
};
