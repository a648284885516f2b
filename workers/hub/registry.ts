/** The Durable Object that knows which clusters exist, and what was registered for each. One for a gateway; hubs do the traffic. */
import { DurableObject } from "cloudflare:workers";
import type { ClusterRegistration, PublicKeySet } from "#core/gateway-api.ts";

/** A registration as it is stored. */
export interface ClusterRecord {
  readonly registration: ClusterRegistration;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Keys of issuers that the gateway cannot reach, as this cluster's agent fetched them; used for this cluster only. */
  readonly reportedKeys: Readonly<Record<string, PublicKeySet>>;
  /** The audiences of the AuthenticationConfiguration, to keep clusters apart. */
  readonly audiences: readonly string[];
}

/** What adding a cluster came to. */
export type Addition =
  | { readonly type: "added" }
  | { readonly type: "exists" }
  | { readonly type: "shared"; readonly audience: string; readonly cluster: string };

export class Registry extends DurableObject<Env> {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS cluster (name TEXT PRIMARY KEY, record TEXT NOT NULL)");
  }

  get(name: string): ClusterRecord | undefined {
    const row = this.#sql.exec<{ record: string }>("SELECT record FROM cluster WHERE name = ?", name).toArray()[0];
    return row === undefined ? undefined : JSON.parse(row.record);
  }

  list(): readonly ClusterRecord[] {
    return this.#sql
      .exec<{ record: string }>("SELECT record FROM cluster ORDER BY name")
      .toArray()
      .map((row) => JSON.parse(row.record));
  }

  /** Adds a cluster unless its name is taken, or another cluster accepts one of its audiences and that was not allowed. */
  add(record: ClusterRecord): Addition {
    const { name, allowSharedAudience } = record.registration;
    if (this.get(name) !== undefined) return { type: "exists" };
    if (!allowSharedAudience) {
      for (const other of this.list()) {
        const audience = record.audiences.find((candidate) => other.audiences.includes(candidate));
        if (audience !== undefined) return { type: "shared", audience, cluster: other.registration.name };
      }
    }
    this.#put(record);
    return { type: "added" };
  }

  /** Removes a cluster; whether it was there. */
  remove(name: string): boolean {
    return this.#sql.exec("DELETE FROM cluster WHERE name = ?", name).rowsWritten > 0;
  }

  /** Takes in the keys that a cluster's agent fetched from its issuers. */
  reportKeys(name: string, keys: Readonly<Record<string, PublicKeySet>>): void {
    const record = this.get(name);
    if (record !== undefined) this.#put({ ...record, reportedKeys: keys });
  }

  #put(record: ClusterRecord): void {
    this.#sql.exec(
      "INSERT INTO cluster VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record",
      record.registration.name,
      JSON.stringify(record),
    );
  }
}
