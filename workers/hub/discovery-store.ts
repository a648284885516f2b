/**
 * The cluster's last real discovery answers. While no agent is there they let kubectl get as far as the one request that cannot be
 * served, so that the user reads one clear sentence instead of five about discovery. Only answers that the apiserver gave are kept.
 */

/** Answers kept for one cluster: aggregated discovery, its groups one by one for older clients, and OpenAPI v3 by group. */
const maxAnswers = 256;

/** Largest answer kept: SQLite values in a Durable Object end at 2 MB. */
export const maxDiscoveryBytes = 1_500_000;

export interface DiscoveryAnswer {
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array;
}

export class DiscoveryStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.prepare();
  }

  /** Makes the table where it is missing. */
  prepare(): void {
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS discovery (key TEXT PRIMARY KEY, at INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL)",
    );
  }

  put(key: string, answer: DiscoveryAnswer): void {
    if (answer.body.length > maxDiscoveryBytes) return;
    this.#sql.exec(
      "INSERT INTO discovery VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET at = excluded.at, headers = excluded.headers, body = excluded.body",
      key,
      Date.now(),
      JSON.stringify(answer.headers),
      answer.body,
    );
    this.#sql.exec("DELETE FROM discovery WHERE key NOT IN (SELECT key FROM discovery ORDER BY at DESC LIMIT ?)", maxAnswers);
  }

  get(key: string): DiscoveryAnswer | undefined {
    const row = this.#sql
      .exec<{ headers: string; body: ArrayBuffer }>("SELECT headers, body FROM discovery WHERE key = ?", key)
      .toArray()[0];
    return row === undefined ? undefined : { headers: JSON.parse(row.headers), body: new Uint8Array(row.body) };
  }
}
