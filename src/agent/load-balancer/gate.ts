/** What every call of a provider goes through: no call too many, and none by a process whose Lease may be another's. */
import { ProviderError } from "./driver.ts";
import type { TokenBucket } from "./token-bucket.ts";

/** The Lease may be another's: nothing may be done any more. */
export class LeaseLost extends Error {}

export interface ProviderGateOptions {
  readonly bucket: TokenBucket;
  /** Whether this process may still write. */
  readonly isLeading: () => boolean;
}

export class ProviderGate {
  readonly #options: ProviderGateOptions;
  #isClosed = false;

  constructor(options: ProviderGateOptions) {
    this.#options = options;
  }

  /** Makes a call when it may be made. A provider that asks for a pause gets it from everybody. Rejects with LeaseLost, or as the call. */
  async pass<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    const { bucket, isLeading } = this.#options;
    await bucket.take();
    if (this.#isClosed || !isLeading()) throw new LeaseLost();
    try {
      return await call();
    } catch (thrown) {
      if (thrown instanceof ProviderError && thrown.retryAfterMs !== undefined) bucket.pause(thrown.retryAfterMs);
      throw thrown;
    }
  }

  /** The process ends: calls that wait are given up, and none begins. */
  close(): void {
    this.#isClosed = true;
    this.#options.bucket.close();
  }
}
