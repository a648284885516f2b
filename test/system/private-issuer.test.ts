/** An issuer that only the cluster can reach: the agent fetches its keys by itself, and the gateway uses what that cluster's agent reports. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestIssuer } from "#test/support/issuer.ts";
import type { TestIssuer } from "#test/support/issuer.ts";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";

let gateway: GatewayFixture;
let apiserver: ScriptedApiserver;
let issuer: TestIssuer;
let server: Server;
let cluster: ClusterFixture;
let other: ClusterFixture;
let agent: AgentFixture;

beforeAll(async () => {
  apiserver = await startScriptedApiserver();
  gateway = await startGateway({ bundle: "dist/worker/main.js" });
  const { certificate, key } = await gateway.authority.issue(["localhost"]);
  server = createServer({ cert: certificate, key }, (request, response) => {
    const document = request.url === "/jwks" ? issuer.keySet : { issuer: issuer.url, jwks_uri: `${issuer.url}/jwks` };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  issuer = await createTestIssuer(`https://localhost:${(server.address() as AddressInfo).port}`); // a TCP listener
  const configuration = (url: string, audience: string) => `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: ${url}
    audiences: ["${audience}"]
    certificateAuthority: ${JSON.stringify(gateway.authority.certificate)}
  claimMappings:
    username: { claim: sub, prefix: "oidc:" }
`;
  cluster = await gateway.register({ name: "one", users: issuer, keys: "fetched", configuration });
  other = await gateway.register({ name: "two", users: issuer, keys: "fetched", configuration });
  agent = await cluster.startAgent({ kubeconfig: await apiserver.kubeconfig(join(gateway.folder, "kubeconfig")) });
});

afterAll(async () => {
  await agent.stop();
  await gateway.stop();
  await apiserver.stop();
  server.close();
});

test("its users come in once the agent has reported the keys that it fetched", async () => {
  const token = await cluster.token("alice");
  let answer = await ask(gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
  while (answer.status === 401) answer = await ask(gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
  expect(answer.status).toBe(200);
  expect(apiserver.seen.at(-1)?.headers).toContainEqual(["Impersonate-User", "oidc:alice"]);
});

test("keys that one cluster's agent reported open no other cluster", async () => {
  const answer = await ask(gateway, "/k/two/api/v1/namespaces/web/pods/p", { token: await other.token("alice") });
  expect(answer.status).toBe(401);
  expect(JSON.parse(answer.body)).toMatchObject({ details: { causes: [{ reason: "TOKEN_INVALID" }] } });
});

test("a token that another key signed is refused as before", async () => {
  const forger = await createTestIssuer(issuer.url);
  const token = await forger.token({ sub: "alice", aud: cluster.audience });
  expect((await ask(gateway, "/k/one/api/v1/namespaces/web/pods/p", { token })).status).toBe(401);
});
