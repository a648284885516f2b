/** The tables of one shard: sign-ins under way and sessions, each by the hash of its secret, what they hold sealed. */
import { sessionLimits } from "./limits.ts";

export interface StoredSession {
  readonly sealed: string;
  readonly createdAtMs: number;
}

type SessionRow = { readonly sealed: string; readonly created_at: number; readonly seen_at: number };

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
      "CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, sealed TEXT NOT NULL)",
    );
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

  putSession(id: string, createdAtMs: number, sealed: string): void {
    this.#sql.exec("INSERT INTO session VALUES (?, ?, ?, ?)", id, createdAtMs, this.#clock(), sealed);
  }

  /** A session that has not ended, and is now seen. */
  seeSession(id: string): StoredSession | undefined {
    const nowMs = this.#clock();
    const row = this.#sql.exec<SessionRow>("SELECT created_at, seen_at, sealed FROM session WHERE id = ?", id).toArray()[0];
    if (row === undefined) return undefined;
    const isOver = nowMs - row.seen_at >= sessionLimits.idleMs || nowMs - row.created_at >= sessionLimits.absoluteMs;
    if (isOver) {
      this.removeSession(id);
      return undefined;
    }
    this.#sql.exec("UPDATE session SET seen_at = ? WHERE id = ?", nowMs, id);
    return { sealed: row.sealed, createdAtMs: row.created_at };
  }

  /** Changes what a session holds; nothing when it has ended meanwhile. */
  changeSession(id: string, sealed: string): void {
    this.#sql.exec("UPDATE session SET sealed = ? WHERE id = ?", sealed, id);
  }

  removeSession(id: string): void {
    this.#sql.exec("DELETE FROM session WHERE id = ?", id);
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
    const { left } = this.#sql.exec<{ left: number }>("SELECT (SELECT count(*) FROM start) + (SELECT count(*) FROM session) AS left").one();
    return left > 0;
  }
}
