/** Two clusters behind one gateway, for the same people of the same issuer: nothing of one ever reaches the other. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { adminAudience, audienceOf, clusterName, gatewayUrl, otherClusterName } from "#test/cluster/fixture/names.ts";
import { ann, lee, prefix } from "#test/cluster/fixture/people.ts";
import { authenticationConfiguration, type GatewaySystem } from "#test/cluster/fixture/system.ts";
import { withHosts } from "#test/cluster/fixture/tool-runner.ts";
import { type Cluster, startCluster } from "#test/cluster/harness/cluster.ts";
import { startCommand } from "#test/cluster/harness/command.ts";
import { LineReader } from "#test/cluster/harness/line-reader.ts";

/** Registers the tests. */
export function twoClusterTests(system: () => GatewaySystem): void {
  let other: Cluster;
  let folder: string;

  beforeAll(async () => {
    other = await startCluster({ nodes: 0, apiservers: 1 });
    folder = path.join(system().folder, "other");
    mkdirSync(folder);
    await other.admin(["create", "namespace", "of-the-other"]);
    await other.admin(["create", "clusterrolebinding", "lee", "--clusterrole=view", `--user=${prefix}lee`]);
    await register(system(), other, folder);
    const agent = await startOutsideAgent(system(), { cluster: other, folder, name: otherClusterName });
    await agent.waitFor((line) => line.includes('"event":"ready"'));
  });

  afterAll(async () => {
    await other?.stop();
  });

  test("each user sees the cluster that they name", async () => {
    const list = ["get", "namespaces", "--output=name"];
    const one = await (await system().kubectl("1.34", { person: ann, entrance: "host" })).must(list);
    const two = await (await system().kubectl("1.34", { person: lee, entrance: "host", cluster: otherClusterName })).must(list);
    expect(one).toBe(await system().cluster.admin(list));
    expect(two).toBe(await other.admin(list));
    expect(one).not.toContain("of-the-other");
  });

  test("rights of one cluster are none in the other", async () => {
    const kubectl = await system().kubectl("1.34", { person: ann, cluster: otherClusterName });
    expect((await kubectl.run(["get", "namespaces"])).stderr).toContain(`User "${prefix}ann" cannot list resource "namespaces"`);
  });

  test.each([
    ["the second", clusterName, otherClusterName],
    ["the first", otherClusterName, clusterName],
  ])("a token of the other cluster is refused at %s, before anything of it is reached", async (_which, own, foreign) => {
    const token = await system().provider.token(lee, { audience: audienceOf(own) });
    for (const target of ["/version", "/api/v1/namespaces", "/api/v1/namespaces/default/pods/p/exec?command=sh"]) {
      const answer = await system().ask(lee, { path: `/../${foreign}${target}`, token });
      expect(answer.status).toBe(401);
      expect(JSON.parse(answer.text)).toMatchObject({ kind: "Status", reason: "Unauthorized" });
    }
  });

  test("an agent of one cluster cannot join as the other's", async () => {
    const agent = await startOutsideAgent(system(), { cluster: other, folder, name: clusterName });
    const line = await agent.waitFor((text) => text.includes('"type":"refused"'));
    expect(line).toContain("403");
    await agent.stop("SIGKILL");
  });

  test("a third cluster cannot take tokens of the first", async () => {
    const sallyport = await system().sallyport(ann, adminAudience);
    const refused = await sallyport.run(["cluster", "add", "three", ...registration(system(), other, folder, clusterName)]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain(`the audience ${audienceOf(clusterName)} is also cluster ${clusterName}'s`);
  });
}

/** The flags of `cluster add` for this cluster, with the audience of a cluster's name. */
function registration(system: GatewaySystem, cluster: Cluster, folder: string, audienceName: string): readonly string[] {
  const configuration = path.join(folder, `authentication-${audienceName}.yaml`);
  writeFileSync(configuration, authenticationConfiguration(system.provider.url, audienceName, system.authorityPem));
  const manifests = path.join(folder, `agent-${audienceName}.yaml`);
  return [
    "--authentication-config",
    configuration,
    "--kubeconfig",
    cluster.adminKubeconfig,
    "--manifests",
    manifests,
    "--overwrite",
    "--allow-group",
    `${prefix}developers`,
    "--login-client-id",
    audienceOf(audienceName),
  ];
}

async function register(system: GatewaySystem, cluster: Cluster, folder: string): Promise<void> {
  const sallyport = await system.sallyport(ann, adminAudience);
  await sallyport.must(["cluster", "add", otherClusterName, ...registration(system, cluster, folder, otherClusterName)]);
  // Without nodes its pods never run; its rights are what is needed.
  await cluster.admin(["apply", "-f", path.join(folder, `agent-${otherClusterName}.yaml`)]);
}

interface OutsideAgent {
  /** The cluster that it works for. */
  readonly cluster: Cluster;
  readonly folder: string;
  /** The cluster that it says it is. */
  readonly name: string;
}

/** An agent outside the cluster, with the ServiceAccount's token in a kubeconfig. */
async function startOutsideAgent(system: GatewaySystem, { cluster, folder, name }: OutsideAgent): Promise<LineReader<string>> {
  const makeToken = (...flags: readonly string[]): Promise<string> =>
    cluster.admin(["-n", "sallyport-system", "create", "token", "sallyport-agent", ...flags]);
  const joinFile = path.join(folder, `join-${name}.jwt`);
  writeFileSync(joinFile, await makeToken(`--audience=${gatewayUrl}/clusters/${name}`), { mode: 0o600 });
  const kubeconfig = cluster.kubeconfigFor(`agent-${name}`, { type: "token", token: (await makeToken()).trim() });
  const { program, args } = withHosts(system.hostsFile, [
    "sh",
    "-c",
    'exec "$@" 2>&1',
    "agent",
    process.execPath,
    "dist/sallyport.js",
    "agent",
    "--gateway",
    gatewayUrl,
    "--gateway-ca",
    path.join(system.folder, "ca.crt"),
    "--cluster",
    name,
    "--kubeconfig",
    kubeconfig,
    "--authentication-config",
    path.join(folder, `authentication-${otherClusterName}.yaml`),
    "--allow-group",
    `${prefix}developers`,
    "--join-token-file",
    joinFile,
    "--key-file",
    path.join(folder, "key.jwk"),
  ]);
  const agent = new LineReader("sallyport agent", startCommand(program, args), (text) => text);
  system.onStart(agent);
  return agent;
}
