/** A clock that says when something begins to wait for it. */
import { ManualClock } from "./manual-clock.ts";

export class ObservedClock extends ManualClock {
  /** What the last timer was set to. */
  lastWaitMs = 0;
  #wakes: (() => void)[] = [];

  override after(ms: number, run: () => void): () => void {
    this.lastWaitMs = ms;
    const cancel = super.after(ms, run);
    for (const wake of this.#wakes.splice(0)) wake();
    return cancel;
  }

  /** Resolves once the last timer was set to some milliseconds. */
  async whenSetTo(ms: number): Promise<void> {
    while (this.lastWaitMs !== ms) await new Promise<void>((resolve) => this.#wakes.push(resolve));
  }

  /** Resolves once this many timers wait. */
  async whenWaiting(count = 1): Promise<void> {
    while (this.waiting < count) await new Promise<void>((resolve) => this.#wakes.push(resolve));
  }
}
