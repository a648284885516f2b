/** `npm run demo -- --context NAME`: the demo in front of a real cluster, which it leaves as it was. */
import { afterAll, beforeAll, expect, test } from "vitest";

import { type Cluster, startCluster } from "./harness/cluster.ts";
import { runCommand } from "./harness/command.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 1, apiservers: 1 });
});

afterAll(async () => {
  await cluster.stop();
});

test("runs its tour on a kubeconfig's cluster, and takes what it added out again", async () => {
  const bindings = async () => cluster.admin(["get", "clusterrolebindings,rolebindings", "--all-namespaces", "--output=name"]);
  const before = await bindings();
  const args = ["src/cli/main.ts", "demo", "--once", "--context", "context", "--kubeconfig", cluster.adminKubeconfig];
  const { code, stdout, stderr } = await runCommand(process.execPath, args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/demo:dana[^]*NamespaceList[^]*403[^]*TOKEN_INVALID/);
  expect(await bindings()).toBe(before);
});
