/**
 * Clients that go on for days: what they know must stay what the cluster holds, whatever breaks between. Informers watch while another
 * client writes numbered changes directly at an apiserver; at the end each informer has seen every change once, in order.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { ann, type Person, prefix } from "#test/cluster/fixture/people.ts";
import { type GatewaySystem, waitForAgents } from "#test/cluster/fixture/system.ts";
import { mustRun, runCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { type InformerLine, startInformer } from "#test/cluster/harness/informer.ts";
import type { LineReader } from "#test/cluster/harness/line-reader.ts";

const watchedNamespace = "numbered";
const counters = 10;
/** More users than apiservers, so that each apiserver has some of their watches; an agent keeps a user at one. */
const watchers = 4;
const restartedMs = 60_000;

interface Watcher {
  readonly person: Person;
  readonly informer: LineReader<InformerLine>;
}

/** Registers the tests. */
export function informerTests(system: () => GatewaySystem): void {
  describe("informers miss nothing", () => {
    const running: Watcher[] = [];

    beforeAll(async () => {
      await system().cluster.admin(["create", "namespace", watchedNamespace]);
      for (let index = 0; index < watchers; index++) running.push(await startWatcher(system(), index));
    });

    afterAll(async () => {
      for (const { informer } of running) await informer.finish();
    });

    test("when both replicas of the agent are killed, one after the other", async () => {
      const before = running.map(({ person }) => watchesOf(system(), person));
      await writeDuring(system(), running, "every change", async () => {
        for (const pod of await agentPods(system())) {
          await system().cluster.admin(["-n", "sallyport-system", "delete", pod, "--grace-period=0", "--force"]);
          await waitUntil("the pod is replaced", restartedMs, async () => !(await agentPods(system())).includes(pod));
          await waitForAgents(system());
        }
      });
      // Every one of them was cut, or nothing was shown.
      await waitUntil("each has watched again", restartedMs, async () =>
        running.every(({ person }, index) => watchesOf(system(), person) > (before[index] ?? 0)),
      );
    });

    test("when an apiserver that serves their watches is killed and comes back", async () => {
      const [, second] = system().cluster.apiservers;
      if (second === undefined) throw new Error("the system has two apiservers");
      while (!running.some(({ person }) => isServing(system(), second.name, person)))
        running.push(await startWatcher(system(), running.length));
      await writeDuring(system(), running, "every change", async () => {
        await second.kill();
        await second.restart();
      });
    });

    test("when the tunnel's connections are reset", async () => {
      const { cluster } = system();
      await writeDuring(system(), running, "every object", async () => {
        const cut = await runCommand("ss", ["--kill", "--tcp", "dst", cluster.network?.podRange ?? "", "sport", "=", ":443"]);
        expect(cut.stdout).toContain("ESTAB");
        await waitForAgents(system());
      });
    });

    test("when the gateway ends and starts again", async () => {
      await writeDuring(system(), running, "every object", async () => {
        await system().gateway.cut();
        await waitForAgents(system());
      });
    });

    test("when the network between agents and gateway swallows everything for a while", async () => {
      const nodes = system().cluster.network?.nodes ?? [];
      const before = await silences(system());
      await writeDuring(system(), running, "every object", async () => {
        try {
          for (const { namespace } of nodes) await inNode(namespace, swallow(system().cluster.hostAddress));
          await waitUntil("both agents notice", restartedMs, async () =>
            (await silences(system())).every((count, index) => count > (before[index] ?? 0)),
          );
        } finally {
          for (const { namespace } of nodes) await inNode(namespace, "delete table inet swallow\n");
        }
        await waitForAgents(system());
      });
    });
  });
}

/** Rules for nft(8) that drop what agents on a node and the gateway send each other, without a word to either. */
function swallow(gateway: string): string {
  return `table inet swallow {
  chain forward {
    type filter hook forward priority -10;
    ip daddr ${gateway} tcp dport 443 drop
    ip saddr ${gateway} tcp sport 443 drop
  }
}
`;
}

async function inNode(namespace: string, rules: string): Promise<void> {
  await mustRun("ip", ["netns", "exec", namespace, "nft", "--file", "-"], { stdin: rules });
}

async function startWatcher(system: GatewaySystem, index: number): Promise<Watcher> {
  const person: Person = { name: `operator-${index}`, groups: ann.groups };
  const informer = await startInformer(await system.kubeconfig({ person, entrance: "address" }), watchedNamespace);
  system.onStart(informer);
  await informer.waitFor(({ type }) => type === "synced");
  return { person, informer };
}

/**
 * What an informer must have seen. Where another way stays open, it watches on from the version that it knows, and sees every change.
 * Where there is none, its next request is answered with an error; then client-go lists anew, and sees each object's newest state.
 */
type Wanted = "every change" | "every object";

/** Writes from before a disturbance until after it, and then compares what each informer saw with what was written. */
async function writeDuring(
  system: GatewaySystem,
  watching: readonly Watcher[],
  wanted: Wanted,
  disturb: () => Promise<void>,
): Promise<void> {
  const written = [await writeCounter(system, 0)];
  // client-go lists anew when a watch ends within its first second without an event, whoever ended it.
  for (const { informer } of watching) await sees(informer, written[0]);
  const over = new AbortController();
  const writing = (async () => {
    for (let number = 1; !over.signal.aborted; number++) written.push(await writeCounter(system, number));
  })();
  try {
    await disturb();
  } finally {
    over.abort();
    await writing;
  }
  const last = await writeCounter(system, written.length);
  written.push(last);
  const { items } = JSON.parse((await firstApiserver(system).ask({ path: configMaps })).text) as ConfigMapList;
  const stored = Object.fromEntries(items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
  for (const { informer } of watching) {
    await sees(informer, last);
    assertComplete(informer.lines, wanted === "every change" ? written : []);
    const known = informer.lines.length;
    informer.say("cache");
    await informer.waitFor((line) => line.type === "cache" && informer.lines.indexOf(line) >= known);
    expect(informer.lines.findLast(({ type }) => type === "cache")?.items).toEqual(stored);
  }
}

/** One write: which object, and the version that it got. */
interface Change {
  readonly name: string;
  readonly resourceVersion: string;
}

interface ConfigMapList {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly resourceVersion: string } }[];
}

const configMaps = `/api/v1/namespaces/${watchedNamespace}/configmaps`;

/** Applies a number to one of the counters; the first time makes it. */
async function writeCounter(system: GatewaySystem, number: number): Promise<Change> {
  const name = `counter-${number % counters}`;
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { number: String(number), at: String(performance.now()) } };
  const answer = await firstApiserver(system).ask({
    method: "PATCH",
    path: `${configMaps}/${name}?fieldManager=writer&force=true`,
    body,
    contentType: "application/apply-patch+yaml",
  });
  if (answer.status > 201) throw new Error(`${name}: ${answer.status} ${answer.text}`);
  const { metadata } = JSON.parse(answer.text) as ConfigMapList["items"][number];
  return { name, resourceVersion: metadata.resourceVersion };
}

/** Waits until an informer tells of a change. */
async function sees(informer: LineReader<InformerLine>, change: Change | undefined): Promise<void> {
  await informer.waitFor(({ resourceVersion, type }) => type !== "cache" && resourceVersion === change?.resourceVersion);
}

/** Every one of these changes was seen, and no object's version ever went back. */
function assertComplete(lines: readonly InformerLine[], written: readonly Change[]): void {
  const events = lines.filter(({ type }) => type === "added" || type === "updated");
  const seen = new Set(events.map(({ resourceVersion }) => resourceVersion));
  const missed = written.filter(({ resourceVersion }) => !seen.has(resourceVersion));
  const errors = lines.filter(({ type }) => type === "error").map(({ error }) => error);
  expect({ missed: missed.length, errors: missed.length === 0 ? [] : errors }).toEqual({ missed: 0, errors: [] });
  const newest = new Map<string, number>();
  for (const { name = "", resourceVersion } of events) {
    expect(Number(resourceVersion)).toBeGreaterThanOrEqual(newest.get(name) ?? 0);
    newest.set(name, Number(resourceVersion));
  }
}

function firstApiserver(system: GatewaySystem): GatewaySystem["cluster"]["apiservers"][number] {
  const [first] = system.cluster.apiservers;
  if (first === undefined) throw new Error("the system has two apiservers");
  return first;
}

async function agentPods(system: GatewaySystem): Promise<readonly string[]> {
  const names = await system.cluster.admin([
    "-n",
    "sallyport-system",
    "get",
    "pods",
    "-l",
    "app.kubernetes.io/name=sallyport-agent",
    "-o",
    "name",
  ]);
  return names.trim().split("\n");
}

/** How often each agent has found its lanes silent. */
async function silences(system: GatewaySystem): Promise<readonly number[]> {
  const logs = (await agentPods(system)).map((pod) => system.cluster.admin(["-n", "sallyport-system", "logs", pod]));
  return (await Promise.all(logs)).map((log) => log.split("no heartbeat was answered").length);
}

/** How many watches the gateway has opened for a user. */
function watchesOf(system: GatewaySystem, person: Person): number {
  return system.gateway.lines.filter((line) => line.includes('"verb":"watch"') && line.includes(`"username":"${prefix}${person.name}"`))
    .length;
}

/** Whether an apiserver has a watch of a user that is still open: it started and did not complete. */
function isServing(system: GatewaySystem, apiserver: string, person: Person): boolean {
  const lines = system.cluster
    .logOf(apiserver)
    .split("\n")
    .filter((line) => line.includes('"verb":"watch"') && line.includes(`"username":"${prefix}${person.name}"`));
  const count = (stage: string): number => lines.filter((line) => line.includes(`"stage":"${stage}"`)).length;
  return count("ResponseStarted") > count("ResponseComplete");
}
