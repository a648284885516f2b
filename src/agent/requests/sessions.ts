/**
 * When the streams of each user end. A stream lives as long as the credential that opened it; a later token of the same issuer and
 * subject that maps to the very same identity extends it, because the user has signed in again and has lost no right since.
 */
import type { Identity } from "#core/access/identity.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

/** Node's timers hold at most this long; a longer wait is taken in steps. */
const longestTimerMs = 2 ** 31 - 1;

/** An open stream's claim on its credential. */
export interface SessionStream {
  /** The credential ended: end the stream. */
  readonly onExpired: () => void;
  /** The credential was renewed. */
  readonly onExtended: (expiresAtMs: number) => void;
}

interface Session {
  expiresAtMs: number;
  readonly streams: Set<Entry>;
}

interface Entry {
  readonly stream: SessionStream;
  timer: NodeJS.Timeout | undefined;
}

export class Sessions {
  readonly #sessions = new Map<string, Session>();
  readonly #now: () => number;

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Streams that are open. */
  get streamCount(): number {
    return [...this.#sessions.values()].reduce((sum, session) => sum + session.streams.size, 0);
  }

  /** Takes note of a verified token: streams of the same owner and identity live on as long as it does. */
  renew(token: VerifiedToken): void {
    const session = this.#sessions.get(keyOf(token));
    if (session === undefined || token.expiresAtMs <= session.expiresAtMs) return;
    session.expiresAtMs = token.expiresAtMs;
    for (const entry of session.streams) {
      this.#arm(session, entry);
      entry.stream.onExtended(token.expiresAtMs);
    }
  }

  /** Registers a stream; call the returned function when it is over. */
  enter(token: VerifiedToken, stream: SessionStream): () => void {
    const key = keyOf(token);
    const session = this.#sessions.get(key) ?? { expiresAtMs: token.expiresAtMs, streams: new Set<Entry>() };
    this.#sessions.set(key, session);
    const entry: Entry = { stream, timer: undefined };
    session.streams.add(entry);
    this.#arm(session, entry);
    return () => {
      clearTimeout(entry.timer);
      session.streams.delete(entry);
      if (session.streams.size === 0) this.#sessions.delete(key);
    };
  }

  #arm(session: Session, entry: Entry): void {
    clearTimeout(entry.timer);
    const leftMs = session.expiresAtMs - this.#now();
    entry.timer = setTimeout(
      () => {
        if (session.expiresAtMs > this.#now()) this.#arm(session, entry);
        else entry.stream.onExpired();
      },
      Math.min(Math.max(leftMs, 0), longestTimerMs),
    );
    entry.timer.unref();
  }
}

function ownerOf(issuer: string, subject: string): string {
  return `${JSON.stringify([issuer, subject])}\n`;
}

function keyOf(token: VerifiedToken): string {
  return ownerOf(token.issuer, token.subject) + identityText(token.identity);
}

function identityText(identity: Identity): string {
  const extra = Object.entries(identity.extra).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([identity.username, identity.uid, [...identity.groups].toSorted(), extra]);
}
