/** The kubelet of all nodes: takes pods that are placed, runs them, and removes them when they have ended. */
import type { Clock } from "#sandbox/clock.ts";
import { maxContainers } from "#sandbox/limits.ts";
import { isEqual, listAt, numberAt, textAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { isTerminating, keyOf } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { plainDelete } from "#sandbox/registry/deletion.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import type { StoreEvent } from "#sandbox/store/store.ts";
import type { Container } from "./container.ts";
import { environmentOf } from "./environment.ts";
import type { EventRecorder } from "./events.ts";
import { PodWorker } from "./pod-worker.ts";

/** What the kubelet works with. */
export interface KubeletParts {
  readonly registry: Registry;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

/** Runs the pods that are placed on a node. */
export class Kubelet {
  readonly #parts: KubeletParts;
  readonly #workers = new Map<string, PodWorker>();
  readonly #stopping = new Set<string>();
  #addresses = 0;
  #unsubscribe = (): void => undefined;
  #stopped = false;

  constructor(parts: KubeletParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unsubscribe = this.#parts.registry.store.subscribe((event) => {
      // Later, because a listener must not write to the store.
      if (event.resource.kind === "Pod") queueMicrotask(() => this.#sync(event));
    });
  }

  /** Kills all processes and waits until they are gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    await Promise.all([...this.#workers.values()].map((worker) => worker.kill()));
  }

  /** The container of a running pod. */
  container(pod: KubeObject, name: string): Container | undefined {
    return this.#workers.get(pod.metadata.uid)?.containers.find((container) => container.name === name);
  }

  /** The real port on 127.0.0.1 behind a pod's port. */
  hostPort(pod: KubeObject, port: number): number | undefined {
    for (const container of this.#workers.get(pod.metadata.uid)?.containers ?? []) {
      const found = container.hostPort(port);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** How many exec sessions run in all pods. */
  sessionCount(): number {
    return [...this.#workers.values()].flatMap((worker) => worker.containers).reduce((sum, container) => sum + container.sessionCount, 0);
  }

  #sync({ type, object }: StoreEvent): void {
    if (this.#stopped) return;
    const { uid } = object.metadata;
    if (type === "DELETED") return void this.#end(object, 0);
    const pod = this.#parts.registry.store.get(resourceOf("Pod"), keyOf(object));
    if (pod?.metadata.uid !== uid || textAt(pod, "spec", "nodeName") === "") return;
    if (isTerminating(pod)) void this.#end(pod, (numberAt(pod, "metadata", "deletionGracePeriodSeconds") ?? 30) * 1000);
    else if (!this.#workers.has(uid)) void this.#begin(pod);
  }

  async #begin(pod: KubeObject): Promise<void> {
    const worker = this.#createWorker(pod);
    this.#workers.set(pod.metadata.uid, worker);
    await worker.run();
  }

  async #end(pod: KubeObject, graceMs: number): Promise<void> {
    const { uid } = pod.metadata;
    if (this.#stopping.has(uid)) return;
    this.#stopping.add(uid);
    const worker = this.#workers.get(uid);
    if (worker !== undefined) {
      for (const container of worker.containers.filter(({ state }) => state.type === "running")) {
        this.#parts.events.record(pod, {
          type: "Normal",
          reason: "Killing",
          message: `Stopping container ${container.name}`,
          source: "kubelet",
        });
      }
      await worker.stop(graceMs);
    }
    this.#workers.delete(uid);
    this.#stopping.delete(uid);
    const current = this.#parts.registry.store.get(resourceOf("Pod"), keyOf(pod));
    if (current?.metadata.uid !== uid) return;
    this.#parts.registry.delete(resourceOf("Pod"), keyOf(pod), { ...plainDelete, graceSeconds: 0 });
  }

  #createWorker(pod: KubeObject): PodWorker {
    const { registry, events, clock } = this.#parts;
    const node = registry.store.get(resourceOf("Node"), { namespace: "", name: textAt(pod, "spec", "nodeName") });
    this.#addresses += 1;
    const number = this.#addresses;
    return new PodWorker({
      pod,
      podIp: `10.244.${(number >> 8) & 255}.${number & 255}`,
      hostIp: textAt(listAt(node, "status", "addresses")[0] ?? null, "address"),
      clock,
      events,
      environment: (container) => environmentOf(pod, container, registry.store),
      hasRoom: () => this.#processCount() < maxContainers,
      report: (status) => this.#report(pod, status),
    });
  }

  #report(pod: KubeObject, status: JsonObject): void {
    const { registry } = this.#parts;
    const current = registry.store.get(resourceOf("Pod"), keyOf(pod));
    if (this.#stopped || current?.metadata.uid !== pod.metadata.uid || isEqual(current["status"], status)) return;
    registry.update(resourceOf("Pod"), keyOf(pod), { body: { ...current, status }, part: "status" });
  }

  #processCount(): number {
    const containers = [...this.#workers.values()].flatMap((worker) => worker.containers);
    return containers.filter((container) => container.state.type === "running" && container.current?.program !== undefined).length;
  }
}
