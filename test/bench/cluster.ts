/** The cluster that the bench runs on: a real Kubernetes with one apiserver and one node, filled with what the measures read. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clusterFiles } from "#test/cluster/harness/cache.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import { writeKubeconfig } from "./contenders.ts";
import type { Upstream, Workshop } from "./contenders.ts";
import { podCommand } from "./measures.ts";
import { startProgram } from "./program.ts";

export const kubectl: readonly [string, ...string[]] = [clusterFiles.kube, "kubectl"];

/** 200 ConfigMaps of 100 KB are a list of 20 MB. */
const listItems = 200;
const itemBytes = 100_000;

export interface BenchUpstream {
  readonly upstream: Upstream;
  stop(): Promise<void>;
}

/** Starts the cluster. Its limits of requests in flight are off: they would be what 64 clients measure. */
export async function startBenchCluster(): Promise<BenchUpstream> {
  const cluster = await startCluster({ nodes: 1, apiservers: 1, apiserverFlags: ["--enable-priority-and-fairness=false"] });
  await fill(cluster);
  await cluster.admin(["-n", "bench", "wait", "--for=condition=Ready", "pod/bench", "--timeout=120s"]);
  const token = (await cluster.admin(["-n", "bench", "create", "token", "bench", "--duration=12h"])).trim();
  const [apiserver] = cluster.apiservers;
  if (apiserver === undefined) throw new Error("the cluster has no apiserver");
  const target = { url: apiserver.url, caFile: cluster.caFile, token };
  return {
    upstream: {
      target,
      authority: await readFile(cluster.caFile, "utf8"),
      // A token, as an agent in the cluster has: the apiserver verifies a client certificate anew at every request, for 0.3 ms.
      kubeconfig: await writeKubeconfig(join(cluster.folder, "bench.kubeconfig"), target),
    },
    stop: () => cluster.stop(),
  };
}

/** Starts the upstream that is as fast as a program can be, over plain HTTP: the legs to it are the same for all. */
export async function startFastUpstream(workshop: Workshop): Promise<BenchUpstream> {
  const program = await startProgram(workshop.binary, ["upstream"]);
  const target = { url: `http://127.0.0.1:${program.first["port"]}`, caFile: "", token: "none" };
  const kubeconfig = await writeKubeconfig(join(workshop.folder, "fast.kubeconfig"), target);
  return { upstream: { target, authority: undefined, kubeconfig }, stop: () => program.stop() };
}

async function fill(cluster: Cluster): Promise<void> {
  const file = join(cluster.folder, "bench.json");
  await writeFile(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects() }));
  await cluster.admin(["create", "-f", file]);
}

function objects(): readonly unknown[] {
  const meta = (name: string, namespace = "bench") => ({ name, namespace });
  const text = "x".repeat(itemBytes);
  const items = Array.from({ length: listItems }, (_, index) => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: meta(`item-${index}`, "bench-list"),
    data: { text },
  }));
  const container = {
    name: "bench",
    image: "registry.k8s.io/e2e-test-images/agnhost:2.56",
    imagePullPolicy: "Never",
    command: ["sh", "-c", podCommand],
  };
  return [
    ...["bench", "bench-list"].map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } })),
    { apiVersion: "v1", kind: "ServiceAccount", metadata: meta("bench") },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name: "bench" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
      subjects: [
        { kind: "ServiceAccount", name: "bench", namespace: "bench" },
        { kind: "User", name: "oidc:bench", apiGroup: "rbac.authorization.k8s.io" },
      ],
    },
    { apiVersion: "v1", kind: "ConfigMap", metadata: meta("small"), data: { text: "x".repeat(300) } },
    { apiVersion: "v1", kind: "ConfigMap", metadata: meta("event"), data: { sent: "0" } },
    ...items,
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: meta("bench"),
      spec: { containers: [container], serviceAccountName: "bench", terminationGracePeriodSeconds: 0 },
    },
  ];
}
