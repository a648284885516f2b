/** The tables of one shard: sign-ins under way and sessions, each by the hash of its secret, what they hold sealed, people by hashes too. */
import { sessionLimits } from "./limits.ts";

export interface StoredSession {
  readonly name: string;
  readonly sealed: string;
  readonly createdAtMs: number;
}

/** A session as its owner's other browsers see it. */
export interface SessionNote {
  /** Names the session and opens nothing. */
  readonly name: string;
  readonly createdAtMs: number;
  readonly seenAtMs: number;
}

export interface NewSession {
  /** The hash of its secret. */
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly sealed: string;
  /** Hashes of the people that it is signed in as. */
  readonly owners: readonly string[];
}

type NoteRow = { readonly id: string; readonly name: string; readonly created_at: number; readonly seen_at: number };
type SessionRow = { readonly name: string; readonly sealed: string; readonly created_at: number; readonly seen_at: number };

export class SessionStore {
  readonly #sql: SqlStorage;
  readonly #clock: () => number;

  constructor(sql: SqlStorage, clock: () => number) {
    this.#sql = sql;
    this.#clock = clock;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS start (state TEXT PRIMARY KEY, browser TEXT NOT NULL, begun_at INTEGER NOT NULL, sealed TEXT NOT NULL)",
    );
    sql.exec("CREATE INDEX IF NOT EXISTS start_begun ON start (begun_at)");
    sql.exec(
      "CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, " +
        "sealed TEXT NOT NULL)",
    );
    sql.exec("CREATE TABLE IF NOT EXISTS owner (owner TEXT NOT NULL, session TEXT NOT NULL, PRIMARY KEY (owner, session)) WITHOUT ROWID");
    sql.exec("CREATE INDEX IF NOT EXISTS owner_session ON owner (session)");
  }

  /** Keeps a sign-in under way; the oldest give way when there are too many. */
  putStart(state: string, browser: string, sealed: string): void {
    this.#sql.exec("INSERT INTO start VALUES (?, ?, ?, ?)", state, browser, this.#clock(), sealed);
    this.#sql.exec(
      "DELETE FROM start WHERE state IN (SELECT state FROM start ORDER BY begun_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
      sessionLimits.maxStarts,
    );
  }

  /** Takes a sign-in under way out, whoever asks; what it holds only for the browser that began it, and in time. */
  takeStart(state: string, browser: string): string | undefined {
    const row = this.#sql
      .exec<{ browser: string; begun_at: number; sealed: string }>(
        "DELETE FROM start WHERE state = ? RETURNING browser, begun_at, sealed",
        state,
      )
      .toArray()[0];
    if (row === undefined || row.browser !== browser) return undefined;
    return this.#clock() - row.begun_at < sessionLimits.startMs ? row.sealed : undefined;
  }

  putSession({ id, name, createdAtMs, sealed, owners }: NewSession): void {
    this.#sql.exec("INSERT INTO session VALUES (?, ?, ?, ?, ?)", id, name, createdAtMs, this.#clock(), sealed);
    for (const owner of owners) this.#sql.exec("INSERT OR IGNORE INTO owner VALUES (?, ?)", owner, id);
  }

  /** The sessions of these people that have not ended. */
  sessionsOf(owners: readonly string[]): readonly SessionNote[] {
    const nowMs = this.#clock();
    const rows = owners.flatMap((owner) =>
      this.#sql
        .exec<NoteRow>(
          "SELECT session.id, name, created_at, seen_at FROM owner JOIN session ON session.id = owner.session WHERE owner = ? AND seen_at > ? AND created_at > ?",
          ...[owner, nowMs - sessionLimits.idleMs, nowMs - sessionLimits.absoluteMs],
        )
        .toArray(),
    );
    const notes = rows.map((row) => [row.id, { name: row.name, createdAtMs: row.created_at, seenAtMs: row.seen_at }] as const);
    return [...new Map(notes).values()];
  }

  /** Ends the session of this name, if it is one of these people's; whether it was. */
  endSession(name: string, owners: readonly string[]): boolean {
    const found = this.#sql.exec<{ id: string }>("SELECT id FROM session WHERE name = ?", name).toArray()[0];
    if (found === undefined) return false;
    const isOwn = owners.some(
      (owner) => this.#sql.exec("SELECT 1 FROM owner WHERE owner = ? AND session = ?", owner, found.id).toArray().length > 0,
    );
    if (isOwn) this.removeSession(found.id);
    return isOwn;
  }

  /** A session that has not ended, and is now seen. */
  seeSession(id: string): StoredSession | undefined {
    const nowMs = this.#clock();
    const row = this.#sql.exec<SessionRow>("SELECT name, created_at, seen_at, sealed FROM session WHERE id = ?", id).toArray()[0];
    if (row === undefined) return undefined;
    const isOver = nowMs - row.seen_at >= sessionLimits.idleMs || nowMs - row.created_at >= sessionLimits.absoluteMs;
    if (isOver) {
      this.removeSession(id);
      return undefined;
    }
    this.#sql.exec("UPDATE session SET seen_at = ? WHERE id = ?", nowMs, id);
    return { name: row.name, sealed: row.sealed, createdAtMs: row.created_at };
  }

  /** Changes what a session holds; nothing when it has ended meanwhile. */
  changeSession(id: string, sealed: string): void {
    this.#sql.exec("UPDATE session SET sealed = ? WHERE id = ?", sealed, id);
  }

  removeSession(id: string): void {
    this.#sql.exec("DELETE FROM session WHERE id = ?", id);
    this.#sql.exec("DELETE FROM owner WHERE session = ?", id);
  }

  /** Removes what is over; whether anything is left. */
  sweep(): boolean {
    const nowMs = this.#clock();
    this.#sql.exec("DELETE FROM start WHERE begun_at <= ?", nowMs - sessionLimits.startMs);
    this.#sql.exec(
      "DELETE FROM session WHERE seen_at <= ? OR created_at <= ?",
      nowMs - sessionLimits.idleMs,
      nowMs - sessionLimits.absoluteMs,
    );
    this.#sql.exec("DELETE FROM owner WHERE session NOT IN (SELECT id FROM session)");
    const { left } = this.#sql.exec<{ left: number }>("SELECT (SELECT count(*) FROM start) + (SELECT count(*) FROM session) AS left").one();
    return left > 0;
  }
}
