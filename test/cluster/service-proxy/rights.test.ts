/** The shipped manifests: a real apiserver takes them, the rights in them suffice, and each that is taken away is missed and named. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openApiservers } from "#agent/cluster-access.ts";
import { systemClock } from "#agent/clock.ts";
import type { Clock } from "#agent/clock.ts";
import { EventRecorder } from "#agent/cluster/events.ts";
import { NodeLease } from "#agent/cluster/node-lease.ts";
import { NodeStates } from "#agent/cluster/node-states.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import { runCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { kubectlPath, toolEnvironment } from "#test/cluster/harness/tools.ts";
import { startReading } from "./reading.ts";
import type { TestReading } from "./reading.ts";

const manifests = "infra/manifests/service-proxy.yaml";
const subject = "system:serviceaccount:sallyport-service-proxy:sallyport-service-proxy";
const rightsMs = 30_000;

/** Waits for little. */
const hasty: Clock = { ...systemClock, after: (ms, run) => systemClock.after(ms / 50, run) };

let cluster: Cluster;
let kubeconfig: string;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 0, apiservers: 1 });
  await cluster.admin(["apply", "-f", manifests]);
  const token = await cluster.admin(["-n", "sallyport-service-proxy", "create", "token", "sallyport-service-proxy"]);
  kubeconfig = cluster.kubeconfigFor("service-proxy", { type: "token", token: token.trim() });
});

afterAll(async () => {
  await cluster.stop();
});

function recordTestEvent({ access }: TestReading): { readonly recorder: EventRecorder; readonly recorded: Promise<void> } {
  const recorder = new EventRecorder({
    api: access.api,
    clock: systemClock,
    random: Math.random,
    controller: "sallyport.dev/service-proxy",
    instance: "node-1",
  });
  const recorded = recorder.record({
    subject: { kind: "Service", namespace: "default", name: "kubernetes", uid: "" },
    type: "Warning",
    reason: "FailedToStartServiceHealthcheck",
    action: "Listen",
    note: "a port is taken",
  });
  return { recorder, recorded };
}

/** Takes the rule for a resource out of the role, and gives what puts it back. */
async function takeAway(resource: string, verb: string): Promise<() => Promise<void>> {
  const role = JSON.parse(await cluster.admin(["get", "clusterrole", "sallyport-service-proxy", "-o", "json"])) as {
    rules: readonly { readonly resources: readonly string[] }[];
  };
  const set = async (rules: typeof role.rules) => {
    await cluster.admin(["patch", "clusterrole", "sallyport-service-proxy", "--type=merge", "-p", JSON.stringify({ rules })]);
  };
  const may = async () =>
    (
      await runCommand(await kubectlPath("1.34"), ["auth", "can-i", verb, resource, `--as=${subject}`], {
        env: toolEnvironment(cluster.adminKubeconfig),
      })
    ).stdout.startsWith("yes");
  await set(role.rules.filter(({ resources }) => !resources.includes(resource.split(".")[0] ?? "")));
  await waitUntil(`no right to ${resource}`, rightsMs, async () => !(await may()));
  return async () => {
    await set(role.rules);
    await waitUntil(`the right to ${resource}`, rightsMs, may);
  };
}

describe("the shipped manifests", () => {
  test("are taken without a warning", async () => {
    const args = ["apply", "--dry-run=server", "-f", manifests];
    const { stdout, stderr } = await runCommand(await kubectlPath("1.34"), args, { env: toolEnvironment(cluster.adminKubeconfig) });
    expect([stdout.trim().split("\n").length, stderr]).toEqual([10, ""]);
  });

  test("give the service proxy all that it needs", async () => {
    const made = await startReading(cluster, { kubeconfig });
    await made.until(() => made.reading.isSynced);
    const { recorder, recorded } = recordTestEvent(made);
    await recorded;
    expect([made.troubles, recorder.lost]).toEqual([[], 0]);
    expect(await cluster.admin(["get", "events", "-o", "jsonpath={.items[0].reason} {.items[0].message}"])).toBe(
      "FailedToStartServiceHealthcheck a port is taken",
    );
    await made.stop();
  });

  test("let it tell its state, and the agent read that", async () => {
    const made = await startReading(cluster, { kubeconfig });
    const lease = new NodeLease({
      api: made.access.api,
      node: "node-1",
      clock: hasty,
      describe: () => ({ state: "synced", generation: 7, lastError: undefined, nodeUid: "" }),
      onTrouble: (what) => expect(what).toBeUndefined(),
    });
    lease.start();
    await cluster.admin(["-n", "sallyport-service-proxy", "wait", "--for=create", "lease/node-1", "--timeout=30s"]);
    lease.stop();
    await made.stop();
    await cluster.admin(["create", "namespace", "sallyport-system"]);
    await cluster.admin(["-n", "sallyport-system", "create", "serviceaccount", "sallyport-agent"]);
    const token = await cluster.admin(["-n", "sallyport-system", "create", "token", "sallyport-agent"]);
    const agent = cluster.kubeconfigFor("agent", { type: "token", token: token.trim() });
    const reader = await openApiservers({ kubeconfig: { path: agent, context: undefined }, apiservers: [] });
    const refused: string[] = [];
    const states = new NodeStates({ api: reader.api, clock: systemClock, random: Math.random, onRefused: (what) => refused.push(what) });
    await states.start();
    states.stop();
    await reader.close();
    expect([refused, states.report()]).toEqual([
      [],
      expect.objectContaining({ state: "synced", listed: [expect.objectContaining({ node: "node-1", generation: 7 })] }),
    ]);
  });

  test.each([
    ["services", "/api/v1/services"],
    ["endpointslices.discovery.k8s.io", "/apis/discovery.k8s.io/v1/endpointslices"],
    ["servicecidrs.networking.k8s.io", "/apis/networking.k8s.io/v1/servicecidrs"],
    ["nodes", "/api/v1/nodes"],
  ])("without the right to %s it does not begin, and says why", async (resource, path) => {
    const restore = await takeAway(resource, "watch");
    const made = await startReading(cluster, { kubeconfig });
    await made.until(() => made.troubles.length > 0);
    expect([made.troubles[0], made.reading.isSynced]).toEqual([`${path}: the apiserver refuses ${path} with 403`, false]);
    await restore();
    await made.until(() => made.reading.isSynced);
    await made.stop();
  });

  test("without the right to events it goes on, and counts what it could not tell", async () => {
    const restore = await takeAway("events.events.k8s.io", "create");
    const made = await startReading(cluster, { kubeconfig });
    await made.until(() => made.reading.isSynced);
    const { recorder, recorded } = recordTestEvent(made);
    await recorded;
    expect(recorder.lost).toBe(1);
    await made.stop();
    await restore();
  });
});
