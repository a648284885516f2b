/**
 * What all streams of one receiver may grow their windows by together. A reader that stalls after a fast start holds a grown window full
 * of bytes; without a common bound a hundred of them would hold hundreds of megabytes.
 */

/** What one stream has taken. */
interface Share {
  bytes: number;
}

export class WindowPool {
  #left: number;
  readonly #shares = new WeakMap<object, Share>();
  /** A stream whose runtime context ended without a word gives back what it had when it is collected. */
  readonly #lost = new FinalizationRegistry<Share>((share) => this.#return(share));

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Takes bytes for a stream; false when too few are left. */
  take(stream: object, bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    const share = this.#shares.get(stream);
    if (share === undefined) this.#enter(stream, bytes);
    else share.bytes += bytes;
    return true;
  }

  /** Takes back all that a stream has taken. */
  give(stream: object): void {
    const share = this.#shares.get(stream);
    if (share !== undefined) this.#return(share);
  }

  #enter(stream: object, bytes: number): void {
    const share = { bytes };
    this.#shares.set(stream, share);
    this.#lost.register(stream, share);
  }

  #return(share: Share): void {
    this.#left += share.bytes;
    share.bytes = 0;
  }
}
