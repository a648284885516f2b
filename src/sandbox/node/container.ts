/** One container of a pod: its instances one after another, restarted as the pod's restartPolicy says. */
import type { Clock } from "#sandbox/clock.ts";
import { numberAt, textAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { toTime } from "#sandbox/objects/object.ts";
import { ContainerFiles } from "./container-files.ts";
import { imageOf, programOf } from "./images.ts";
import { LogBuffer } from "./log-buffer.ts";
import { Program } from "./program.ts";

/** State of a container, as its status tells it. */
export type ContainerState =
  | { readonly type: "running"; readonly startedAtMs: number }
  | { readonly type: "terminated"; readonly code: number; readonly startedAtMs: number; readonly finishedAtMs: number }
  | { readonly type: "waiting"; readonly reason: string; readonly message: string };

/** One run of a container. */
export interface Instance {
  readonly id: string;
  /** Undefined for a pod that stands for a process outside. */
  readonly program: Program | undefined;
  readonly log: LogBuffer;
  readonly startedAtMs: number;
}

/** What a container needs from its pod. */
export interface ContainerParts {
  readonly spec: Json;
  readonly hostname: string;
  readonly env: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Called when the state has changed. */
  readonly changed: () => void;
}

/** Holds the current and the previous instance. */
export class Container {
  readonly name: string;
  readonly files = new ContainerFiles();
  readonly #parts: ContainerParts;
  readonly #ports = new Map<number, number>();
  readonly #sessions = new Set<Program>();
  #state: ContainerState = { type: "waiting", reason: "ContainerCreating", message: "" };
  #last: ContainerState | undefined;
  #current: Instance | undefined;
  #previous: Instance | undefined;
  #restarts = 0;
  #ready = false;

  constructor(parts: ContainerParts) {
    this.#parts = parts;
    this.name = textAt(parts.spec, "name");
  }

  get state(): ContainerState {
    return this.#state;
  }

  get current(): Instance | undefined {
    return this.#current;
  }

  get previous(): Instance | undefined {
    return this.#previous;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get isTty(): boolean {
    return this.#has("tty");
  }

  get takesInput(): boolean {
    return this.#has("stdin");
  }

  /** Whether the input ends when the first attached client ends it. */
  get takesInputOnce(): boolean {
    return this.#has("stdinOnce");
  }

  /** How many commands run in the container now. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Its own process, and the commands that run in it. */
  programs(): readonly Program[] {
    const own = this.#current?.program;
    return [...(own === undefined ? [] : [own]), ...this.#sessions];
  }

  /** The real port on 127.0.0.1 that a container port stands for. */
  hostPort(containerPort: number): number | undefined {
    return this.#ports.get(containerPort);
  }

  wait(reason: string, message: string): void {
    this.#set({ type: "waiting", reason, message });
  }

  /** Starts an instance; resolves when it has ended. */
  async run(): Promise<number> {
    const { clock, spec } = this.#parts;
    const image = imageOf(spec);
    if (image === undefined) throw new Error("only containers with a known image are started");
    const { program, argv } = programOf(spec, image);
    const log = new LogBuffer(clock);
    const child = program === "" ? undefined : this.#start(program, argv);
    const instance: Instance = {
      id: `sandbox://${crypto.randomUUID().replaceAll("-", "")}`,
      program: child,
      log,
      startedAtMs: clock.now(),
    };
    this.#previous = this.#current;
    this.#current = instance;
    this.#ready = program !== "web"; // a server is ready when it listens
    this.#set({ type: "running", startedAtMs: instance.startedAtMs });
    if (child === undefined) return new Promise(() => undefined); // runs outside, for as long as the pod is there
    child.stdout.on("data", (chunk: Buffer) => log.write("stdout", chunk));
    child.stderr.on("data", (chunk: Buffer) => log.write("stderr", chunk));
    const { code } = await child.ended;
    log.end();
    this.#ready = false;
    this.#ports.clear();
    this.#set({ type: "terminated", code, startedAtMs: instance.startedAtMs, finishedAtMs: clock.now() });
    return code;
  }

  /** Notes that the next run is a restart. */
  restart(): void {
    this.#last = this.#state.type === "terminated" ? this.#state : this.#last;
    this.#restarts += 1;
  }

  /** The ended state moves to lastState while the container waits for its restart. */
  waitForRestart(message: string): void {
    this.#last = this.#state;
    this.#set({ type: "waiting", reason: "CrashLoopBackOff", message });
  }

  /** Runs a command in the container, as exec does. */
  exec(argv: readonly string[], tty: boolean): Program {
    const { hostname, env } = this.#parts;
    const processes = this.#processes();
    const program = new Program({ program: "toybox", argv, env, hostname, tty, ports: [], processes }, this.#listener());
    this.#sessions.add(program);
    void program.ended.then(() => this.#sessions.delete(program));
    return program;
  }

  /** containerStatuses entry (API reference, core/v1 ContainerStatus). */
  status(): JsonObject {
    const image = imageOf(this.#parts.spec);
    return {
      name: this.name,
      image: textAt(this.#parts.spec, "image"),
      imageID: image === undefined || this.#current === undefined ? "" : `sandbox://${image.name}`,
      ...(this.#current === undefined ? {} : { containerID: this.#current.id }),
      ready: this.#ready,
      started: this.#state.type === "running",
      restartCount: this.#restarts,
      state: stateStatus(this.#state),
      lastState: this.#last === undefined ? {} : stateStatus(this.#last),
    };
  }

  #start(program: string, argv: readonly string[]): Program {
    const { env, hostname, spec } = this.#parts;
    const listed = (spec as JsonObject)["ports"]; // the field check lets only lists in
    const ports = Array.isArray(listed) ? listed.map((port: Json) => numberAt(port, "containerPort") ?? 0).filter((port) => port > 0) : [];
    const child = new Program({ program, argv, env, hostname, tty: this.isTty, ports, processes: [] }, this.#listener());
    if (!this.takesInput) child.stdin.end();
    return child;
  }

  #processes(): readonly { readonly pid: number; readonly command: string }[] {
    const image = imageOf(this.#parts.spec);
    if (image === undefined || this.#current?.program === undefined) return [];
    const { program, argv } = programOf(this.#parts.spec, image);
    return [{ pid: this.#current.program.pid, command: [program, ...argv].join(" ") }];
  }

  #listener(): ConstructorParameters<typeof Program>[1] {
    return {
      listening: (containerPort, port) => {
        this.#ports.set(containerPort, port);
        this.#ready = true;
        this.#parts.changed();
      },
      file: (question) => this.files.answer(question),
    };
  }

  #has(field: "stdin" | "stdinOnce" | "tty"): boolean {
    return (this.#parts.spec as JsonObject)[field] === true; // the field check lets only booleans in
  }

  #set(state: ContainerState): void {
    this.#state = state;
    this.#parts.changed();
  }
}

function stateStatus(state: ContainerState): JsonObject {
  switch (state.type) {
    case "waiting":
      return { waiting: { reason: state.reason, ...(state.message === "" ? {} : { message: state.message }) } };
    case "running":
      return { running: { startedAt: toTime(state.startedAtMs) } };
    case "terminated": {
      const reason = state.code === 0 ? "Completed" : "Error";
      return { terminated: { exitCode: state.code, reason, startedAt: toTime(state.startedAtMs), finishedAt: toTime(state.finishedAtMs) } };
    }
  }
}
