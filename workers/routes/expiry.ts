/** The gateway's own timer on a stream's credential: it ends the stream even if the agent does not. */

/** Timers hold at most this long; a longer wait is taken in steps. */
const longestTimerMs = 2 ** 31 - 1;

export interface ExpiryOptions {
  /** Milliseconds since the epoch; infinite for no end. */
  readonly atMs: number;
  /** Whether the credential was revoked, for those that the gateway gave out itself; undefined for all others. */
  readonly isRevoked: (() => Promise<boolean>) | undefined;
  /** How often that is asked. */
  readonly recheckMs: number;
  readonly onExpired: () => void;
}

export class Expiry {
  readonly #options: ExpiryOptions;
  #atMs: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #isStopped = false;

  constructor(options: ExpiryOptions) {
    this.#options = options;
    this.#atMs = options.atMs;
    this.#arm();
  }

  get atMs(): number {
    return this.#atMs;
  }

  /** The agent has verified a later token of the same user. One that can be revoked is not extended: the later one could be revoked too. */
  extend(atMs: number): void {
    if (atMs <= this.#atMs || this.#options.isRevoked !== undefined) return;
    this.#atMs = atMs;
    clearTimeout(this.#timer);
    this.#arm();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    const { isRevoked, recheckMs } = this.#options;
    const stepMs = isRevoked === undefined ? longestTimerMs : recheckMs;
    if (this.#isStopped || (this.#atMs === Number.POSITIVE_INFINITY && isRevoked === undefined)) return;
    this.#timer = setTimeout(() => void this.#look(), Math.min(Math.max(0, this.#atMs - Date.now()), stepMs));
  }

  async #look(): Promise<void> {
    const { isRevoked, onExpired } = this.#options;
    const isOver = Date.now() >= this.#atMs || (isRevoked !== undefined && (await isRevoked().catch(() => true))); // unknown means no
    if (this.#isStopped) return;
    if (isOver) onExpired();
    else this.#arm();
  }
}
