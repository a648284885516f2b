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
    if (atMs > nowMs) await new Promise<void>((resolve) => void clock.after(atMs - nowMs, resolve));
    // Somebody may have been asked to pause meanwhile.
    while (this.#pausedUntilMs > clock.now()) {
      const restMs = this.#pausedUntilMs - clock.now();
      await new Promise<void>((resolve) => void clock.after(restMs, resolve));
    }
  }

  /** No call begins for some time. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#options.clock.now() + Math.min(ms, longestPauseMs));
  }
}
