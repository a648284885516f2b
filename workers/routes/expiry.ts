/** The gateway's own timer on a stream's credential: it ends the stream even if the agent does not. */

/** Timers hold at most this long; a longer wait is taken in steps. */
const longestTimerMs = 2 ** 31 - 1;

export class Expiry {
  readonly #onExpired: () => void;
  #atMs: number;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param atMs milliseconds since the epoch; infinite for no end */
  constructor(atMs: number, onExpired: () => void) {
    this.#onExpired = onExpired;
    this.#atMs = atMs;
    this.#arm();
  }

  get atMs(): number {
    return this.#atMs;
  }

  /** The agent has verified a later token of the same user. */
  extend(atMs: number): void {
    if (atMs <= this.#atMs) return;
    this.#atMs = atMs;
    this.stop();
    this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    if (this.#atMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(
      () => {
        if (Date.now() >= this.#atMs) this.#onExpired();
        else this.#arm();
      },
      Math.min(Math.max(0, this.#atMs - Date.now()), longestTimerMs),
    );
  }
}
