/** Keys that wait to be worked on: each by one worker at a time, once however often it is added, and later when it failed. */
import type { Clock } from "#agent/clock.ts";
import { firstBackoffMs, longestBackoffMs } from "./limits.ts";

/** How the work on a key ended. `later`: not a failure, but not over. `failed`: the wait doubles each time. */
export type WorkOutcome =
  | { readonly type: "done" }
  | { readonly type: "later"; readonly afterMs: number }
  | { readonly type: "failed"; readonly atLeastMs: number };

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly workers: number;
  /** Must not reject. */
  readonly work: (key: string) => Promise<WorkOutcome>;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<string>();
  /** Added while somebody worked on them. */
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, () => void>();
  #idle: (() => void)[] = [];
  #isStopped = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Keys that wait or are worked on. */
  get depth(): number {
    return this.#waiting.size + this.#running.size;
  }

  /** Works on a key as soon as a worker is free, also one that waits for its next attempt. */
  add(key: string): void {
    if (this.#isStopped) return;
    this.#timers.get(key)?.();
    this.#timers.delete(key);
    if (this.#running.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#startWorkers();
  }

  /** Begins nothing more, and resolves when what runs is over. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#waiting.clear();
    this.#again.clear();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    await this.whenIdle();
  }

  /** Resolves when nothing runs and nothing waits but for its time. */
  async whenIdle(): Promise<void> {
    while (this.depth > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #startWorkers(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#options.workers) return;
      this.#waiting.delete(key);
      this.#running.add(key);
      void this.#options.work(key).then((outcome) => this.#end(key, outcome));
    }
  }

  #end(key: string, outcome: WorkOutcome): void {
    this.#running.delete(key);
    if (this.#again.delete(key)) this.#waiting.add(key);
    else if (!this.#isStopped) this.#schedule(key, outcome);
    if (outcome.type === "done") this.#failures.delete(key);
    this.#startWorkers();
    if (this.depth === 0) for (const wake of this.#idle.splice(0)) wake();
  }

  #schedule(key: string, outcome: WorkOutcome): void {
    switch (outcome.type) {
      case "done":
        return;
      case "later":
        return this.#addAfter(key, outcome.afterMs);
      case "failed":
        return this.#addAfter(key, Math.max(outcome.atLeastMs, this.#backoffMs(key)));
    }
  }

  #addAfter(key: string, ms: number): void {
    this.#timers.set(
      key,
      this.#options.clock.after(ms, () => this.add(key)),
    );
  }

  /** Doubles, and is spread by a tenth so that what failed together is not tried together. */
  #backoffMs(key: string): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    return Math.min(longestBackoffMs, firstBackoffMs * 2 ** Math.min(failures, 16)) * (1 + 0.1 * this.#options.random());
  }
}
