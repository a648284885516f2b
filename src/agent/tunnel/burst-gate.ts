/**
 * Breaks in a lane's stream of bytes. workerd looks for other sockets' input only when there is nothing left to read on the ones that it is
 * reading, so a lane that never runs dry starves the keystrokes of every user behind the same gateway (seen: a second and more). So the
 * lane sends a burst, asks with a PING whether it has been read, and waits for the answer before the next burst.
 *
 * A burst is short against what people feel, but long against the round trip, so that the wait costs little.
 */
import { smallestBurstBytes } from "#core/tunnel/limits.ts";

/** Bytes of a burst for each millisecond of the round trip: at 100 MB/s the wait is then a ninth of the time. */
export const burstBytesPerMs = 800 << 10;

/** Longest burst: what a round trip of a fifth of a second asks for. */
export const largestBurstBytes = 160 << 20;

export class BurstGate {
  #bytes = 0;
  #askedAtMs: number | undefined;
  #roundTripMs = Number.POSITIVE_INFINITY;

  /** Whether more may be sent. */
  get isOpen(): boolean {
    return this.#askedAtMs === undefined;
  }

  /** Takes note of bytes that are sent; true when a PING must follow them, and then the gate is closed. */
  sent(bytes: number, nowMs: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes < this.#burstBytes()) return false;
    this.ask(nowMs);
    return true;
  }

  /** A PING is sent: on a lane that has just joined it measures the round trip alone, which no later one does. */
  ask(nowMs: number): void {
    this.#bytes = 0;
    this.#askedAtMs = nowMs;
  }

  /** The PONG has come. */
  answered(nowMs: number): void {
    if (this.#askedAtMs === undefined) return;
    this.#roundTripMs = Math.min(this.#roundTripMs, nowMs - this.#askedAtMs);
    this.#askedAtMs = undefined;
  }

  #burstBytes(): number {
    if (this.#roundTripMs === Number.POSITIVE_INFINITY) return smallestBurstBytes;
    return Math.min(Math.max(smallestBurstBytes, this.#roundTripMs * burstBytesPerMs), largestBurstBytes);
  }
}
