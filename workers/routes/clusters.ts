/** The gateway's own API under /gateway/v1: registering clusters, looking at them, and how people sign in. */
import { Hono } from "hono";
import { GatewayError } from "#core/errors.ts";
import { parseClusterName } from "#core/brand.ts";
import type { ClusterName } from "#core/brand.ts";
import { maxConfigurationCharacters, parseClusterRegistration } from "#core/gateway-api.ts";
import type { ClusterSummary } from "#core/gateway-api.ts";
import { parseCredentials } from "#core/kube/credentials.ts";
import { listAudiences, parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { parseAdminLogin } from "#workers/auth/admin-door.ts";
import { clusterUrl } from "#workers/gateway.ts";
import type { Gateway } from "#workers/gateway.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";
import { hubOf, registryOf } from "#workers/hub/stubs.ts";
import { readJson } from "./json-body.ts";
import { revocationOf } from "./revocation.ts";
import { unkept } from "./failure.ts";

/** Largest registration: the configuration, and key sets of a few issuers. */
const maxRegistrationBytes = 2 * maxConfigurationCharacters;

export const clusterRoutes = new Hono<{ readonly Bindings: { gateway: Gateway } }>()
  .use(unkept)
  .get("/login", (context) => {
    const login = parseAdminLogin(context.env.gateway.env);
    if (login === undefined) throw new GatewayError("NOT_FOUND", "this gateway names no sign-in for its admins (ADMIN_LOGIN)");
    if (login.type === "invalid") throw new GatewayError("CONFIGURATION_INVALID", login.problems.join("; "));
    return context.json(login.value);
  })
  .get("/clusters/:name/login", async (context) => {
    const record = await findRecord(context.env.gateway, context.req.param("name"));
    if (record.registration.login === undefined) throw new GatewayError("NOT_FOUND", "this cluster was registered without a sign-in");
    return context.json(record.registration.login);
  })
  .get("/clusters", async (context) => {
    const gateway = context.env.gateway;
    const records = await visibleRecords(gateway, context.req.raw.headers);
    return context.json({ clusters: await Promise.all(records.map((record) => summarize(gateway, record))) });
  })
  .post("/clusters", async (context) => {
    const gateway = context.env.gateway;
    await gateway.admins.admit(context.req.raw.headers);
    const record = readRegistration(await readJson(context.req.raw, maxRegistrationBytes));
    const added = await registryOf(gateway.env).add(record);
    const { name } = record.registration;
    if (added.type === "exists") throw new GatewayError("CLUSTER_EXISTS", `a cluster ${name} is registered already`);
    if (added.type === "shared") {
      throw new GatewayError(
        "CONFIGURATION_INVALID",
        `the audience ${added.audience} is also cluster ${added.cluster}'s, so a token for one would open the other: give each cluster an audience of its own, or allow the shared one on purpose`,
      );
    }
    gateway.clusters.forget(name);
    return context.json(await summarize(gateway, record), 201);
  })
  .get("/clusters/:name", async (context) => {
    const gateway = context.env.gateway;
    const record = await findRecord(gateway, context.req.param("name"));
    const visible = await visibleRecords(gateway, context.req.raw.headers);
    if (!visible.some((other) => other.registration.name === record.registration.name))
      throw new GatewayError("POLICY_DENIED", "this cluster is not yours to see");
    return context.json(await summarize(gateway, record));
  })
  .get("/clusters/:name/hub", async (context) => {
    const gateway = context.env.gateway;
    await gateway.admins.admit(context.req.raw.headers);
    const { name } = (await findRecord(gateway, context.req.param("name"))).registration;
    return context.json(await hubOf(gateway.env, name).describeInstance());
  })
  .delete("/clusters/:name", async (context) => {
    const gateway = context.env.gateway;
    await gateway.admins.admit(context.req.raw.headers);
    const { name } = (await findRecord(gateway, context.req.param("name"))).registration;
    await registryOf(gateway.env).remove(name);
    gateway.clusters.forget(name);
    await hubOf(gateway.env, name).forget();
    return context.body(null, 204);
  });

function readRegistration(input: unknown): ClusterRecord {
  const parsed = parseClusterRegistration(input);
  if (parsed.type === "invalid") throw new GatewayError("CONFIGURATION_INVALID", parsed.problems.join("; "));
  const registration = parsed.value;
  const configuration = parseAuthenticationConfiguration(registration.authenticationConfiguration, "authenticationConfiguration");
  if (configuration.type === "invalid") {
    throw new GatewayError(
      "CONFIGURATION_INVALID",
      configuration.problems.map((problem) => `${problem.file}:${problem.line}: ${problem.message}`).join("; "),
    );
  }
  return { registration, createdAt: new Date().toISOString(), reportedKeys: {}, audiences: listAudiences(configuration.configuration) };
}

async function findRecord(gateway: Gateway, text: string): Promise<ClusterRecord> {
  const name = parseClusterName(text);
  const record = name === undefined ? undefined : await registryOf(gateway.env).get(name);
  if (record === undefined) throw new GatewayError("CLUSTER_UNKNOWN", "no cluster of this name is registered here");
  return record;
}

/** All clusters for an admin; for anybody else those whose own door takes the token. */
async function visibleRecords(gateway: Gateway, headers: Headers): Promise<readonly ClusterRecord[]> {
  const registry = registryOf(gateway.env);
  const credentials = parseCredentials([...headers]);
  if (credentials.type === "none") throw new GatewayError("NOT_SIGNED_IN", "the request carries no bearer token");
  if (credentials.type === "invalid") throw new GatewayError(credentials.code, credentials.message);
  const records = await registry.list();
  try {
    await gateway.admins.admit(headers);
    return records;
  } catch (refusal) {
    const own = await Promise.all(
      records.map(async (record) => ((await opens(gateway, record.registration.name, credentials.token)) ? record : undefined)),
    );
    const visible = own.filter((record) => record !== undefined);
    if (visible.length === 0) throw refusal;
    return visible;
  }
}

async function opens(gateway: Gateway, name: ClusterName, token: string): Promise<boolean> {
  const cluster = await gateway.clusters.find(registryOf(gateway.env), name);
  const verdict = await cluster?.door.verify(token);
  if (verdict?.type !== "verified") return false;
  const isRevoked = revocationOf(gateway, name, verdict);
  return isRevoked === undefined || !(await isRevoked());
}

async function summarize(gateway: Gateway, record: ClusterRecord): Promise<ClusterSummary> {
  const { name } = record.registration;
  const agents = await hubOf(gateway.env, name).agents();
  return { name, url: clusterUrl(gateway.env, name), agents: [...agents], createdAt: record.createdAt };
}
