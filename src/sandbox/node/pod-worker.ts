/** Runs one pod: starts its containers, restarts them, ends them, and keeps the pod's status true. */
import type { Clock } from "#sandbox/clock.ts";
import { listAt, textAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { toTime } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { Container } from "./container.ts";
import type { EventRecorder } from "./events.ts";
import { imageList, imageOf } from "./images.ts";

/** What a worker needs from the kubelet. */
export interface PodWorkerParts {
  readonly pod: KubeObject;
  readonly podIp: string;
  readonly hostIp: string;
  readonly clock: Clock;
  readonly events: EventRecorder;
  environment(container: Json): Readonly<Record<string, string>>;
  /** Whether one more process may be started. */
  hasRoom(): boolean;
  /** Writes the pod's status. */
  report(status: JsonObject): void;
}

/** First and longest wait before a failed container is started again (kubelet: 10 s, doubled up to 5 minutes). */
const backOffMs = { first: 10_000, longest: 300_000 } as const;

/** A pod on a node. */
export class PodWorker {
  readonly containers: readonly Container[];
  readonly #parts: PodWorkerParts;
  readonly #startedAtMs: number;
  readonly #stopped = new AbortController();
  readonly #since = new Map<string, { readonly status: string; readonly time: string }>();
  #isQuiet = true;

  constructor(parts: PodWorkerParts) {
    this.#parts = parts;
    this.#startedAtMs = parts.clock.now();
    const hostname = parts.pod.metadata.name;
    this.containers = listAt(parts.pod, "spec", "containers").map(
      (spec) => new Container({ spec, hostname, env: parts.environment(spec), clock: parts.clock, changed: () => this.#report() }),
    );
  }

  /** Starts all containers; resolves when none of them will run again. */
  async run(): Promise<void> {
    this.#isQuiet = false;
    this.#report();
    const specs = listAt(this.#parts.pod, "spec", "containers");
    await Promise.all(this.containers.map((container, index) => this.#keepRunning(container, specs[index] ?? null)));
    this.#report();
  }

  /** Asks the containers to end and kills them when the grace period is over. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped.abort();
    const programs = this.containers.flatMap((container) => container.programs());
    for (const program of programs) program.kill("SIGTERM");
    const cancel = this.#parts.clock.after(graceMs, () => {
      for (const program of programs) program.kill("SIGKILL");
    });
    await Promise.all(programs.map((program) => program.ended));
    cancel();
    this.#isQuiet = true;
  }

  /** Kills everything without telling anybody: the sandbox stops. Resolves when all processes are gone. */
  async kill(): Promise<void> {
    this.#isQuiet = true;
    this.#stopped.abort();
    const programs = this.containers.flatMap((container) => container.programs());
    for (const program of programs) program.kill("SIGKILL");
    await Promise.all(programs.map((program) => program.ended));
  }

  async #keepRunning(container: Container, spec: Json): Promise<void> {
    const image = imageOf(spec);
    if (image === undefined) return this.#refuseImage(container, spec);
    this.#event(container, {
      type: "Normal",
      reason: "Pulled",
      message: `Container image "${textAt(spec, "image")}" is one of the sandbox's own`,
    });
    let wait: number = backOffMs.first;
    for (;;) {
      if (!this.#parts.hasRoom()) {
        return container.wait("CreateContainerError", "the sandbox runs as many processes as it may; delete some pods");
      }
      this.#event(container, { type: "Normal", reason: "Created", message: `Created container: ${container.name}` });
      this.#event(container, { type: "Normal", reason: "Started", message: `Started container ${container.name}` });
      const startedAtMs = this.#parts.clock.now();
      const code = await container.run();
      if (this.#stopped.signal.aborted || !this.#isRestarted(code)) return;
      if (this.#parts.clock.now() - startedAtMs > backOffMs.longest * 2) wait = backOffMs.first;
      this.#event(container, {
        type: "Warning",
        reason: "BackOff",
        message: `Back-off restarting failed container ${container.name} in pod ${this.#parts.pod.metadata.name}`,
      });
      container.waitForRestart(
        `back-off ${wait / 1000}s restarting failed container=${container.name} pod=${this.#parts.pod.metadata.name}`,
      );
      await this.#pause(wait);
      if (this.#stopped.signal.aborted) return;
      container.restart();
      wait = Math.min(wait * 2, backOffMs.longest);
    }
  }

  #refuseImage(container: Container, spec: Json): void {
    const image = textAt(spec, "image");
    const message = `Failed to pull image "${image}": ${imageList()}`;
    this.#event(container, { type: "Warning", reason: "Failed", message });
    this.#event(container, { type: "Normal", reason: "BackOff", message: `Back-off pulling image "${image}"` });
    container.wait("ImagePullBackOff", message);
  }

  #isRestarted(code: number): boolean {
    const policy = textAt(this.#parts.pod, "spec", "restartPolicy");
    return policy === "Always" || (policy === "OnFailure" && code !== 0);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#parts.clock.after(ms, resolve);
      this.#stopped.signal.addEventListener("abort", () => {
        cancel();
        resolve();
      });
    });
  }

  #event(
    container: Container,
    happening: { readonly type: "Normal" | "Warning"; readonly reason: string; readonly message: string },
  ): void {
    this.#parts.events.record(this.#parts.pod, { ...happening, source: "kubelet", fieldPath: `spec.containers{${container.name}}` });
  }

  #report(): void {
    if (!this.#isQuiet) this.#parts.report(this.#status());
  }

  #status(): JsonObject {
    const phase = this.#phase();
    const isReady = this.containers.every((container) => container.isReady) && phase === "Running";
    const conditions = [
      this.#condition("PodReadyToStartContainers", true),
      this.#condition("Initialized", true),
      this.#condition("Ready", isReady),
      this.#condition("ContainersReady", isReady),
      this.#condition("PodScheduled", true),
    ];
    const quality = textAt(this.#parts.pod, "status", "qosClass") || "BestEffort";
    return {
      phase,
      conditions,
      hostIP: this.#parts.hostIp,
      hostIPs: [{ ip: this.#parts.hostIp }],
      podIP: this.#parts.podIp,
      podIPs: [{ ip: this.#parts.podIp }],
      startTime: toTime(this.#startedAtMs),
      containerStatuses: this.containers.map((container) => container.status()),
      qosClass: quality,
    };
  }

  /** Pod phase (kubelet, getPhase). */
  #phase(): string {
    const states = this.containers.map((container) => container.state);
    const codes = states.flatMap((state) => (state.type === "terminated" && !this.#isRestarted(state.code) ? [state.code] : []));
    if (codes.length === states.length) return codes.every((code) => code === 0) ? "Succeeded" : "Failed";
    const neverStarted = this.containers.some((container) => container.current === undefined);
    return neverStarted ? "Pending" : "Running";
  }

  #condition(type: string, isTrue: boolean): JsonObject {
    const status = isTrue ? "True" : "False";
    const known = this.#since.get(type);
    const since = known?.status === status ? known : { status, time: toTime(this.#parts.clock.now()) };
    this.#since.set(type, since);
    const reason = isTrue
      ? {}
      : { reason: "ContainersNotReady", message: `containers with unready status: [${this.#unready().join(" ")}]` };
    return { type, status, lastProbeTime: null, lastTransitionTime: since.time, ...reason };
  }

  #unready(): readonly string[] {
    return this.containers.filter((container) => !container.isReady).map((container) => container.name);
  }
}
