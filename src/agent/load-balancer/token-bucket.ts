/** How often a provider may be asked: some calls at once, then so many in a second, and none while it asked for a pause. */
import type { Clock } from "#agent/clock.ts";
import { longestPauseMs } from "./limits.ts";

export interface TokenBucketOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  readonly burst: number;
}

export class TokenBucket {
  readonly #options: TokenBucketOptions;
  /** When the bucket would be full again, if nobody took anything: each token puts it off. */
  #fullAtMs: number;
  #pausedUntilMs = 0;
  readonly #waiting = new Set<() => void>();
  #isClosed = false;

  constructor(options: TokenBucketOptions) {
    this.#options = options;
    this.#fullAtMs = options.clock.now();
  }

  /** Resolves when a call may be made; in the order in which it was asked. */
  async take(): Promise<void> {
    const { clock, perSecond, burst } = this.#options;
    const nowMs = clock.now();
    this.#fullAtMs = Math.max(nowMs, this.#fullAtMs) + 1000 / perSecond;
    const atMs = Math.max(this.#fullAtMs - (1000 * burst) / perSecond, this.#pausedUntilMs);
    if (atMs > nowMs) await this.#wait(atMs - nowMs);
    // Somebody may have been asked to pause meanwhile.
    while (!this.#isClosed && this.#pausedUntilMs > clock.now()) await this.#wait(this.#pausedUntilMs - clock.now());
  }

  /** Lets everybody go: nobody calls any more. */
  close(): void {
    this.#isClosed = true;
    for (const wake of this.#waiting) wake();
  }

  /** No call begins for some time. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#options.clock.now() + Math.min(ms, longestPauseMs));
  }

  async #wait(ms: number): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(ms, resolve);
    this.#waiting.add(resolve);
    await promise;
    this.#waiting.delete(resolve);
    cancel();
  }
}
