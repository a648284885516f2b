/** What a hub knows of its agents across sleep: the pinned key, each replica's last report, refused joins, and when one was last there. */
import type { AgentState, PublicKeySet } from "#core/gateway-api.ts";
import type { LaneSocket } from "./sockets.ts";

export class AgentBook {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.prepare();
  }

  /** Makes the tables where they are missing. */
  prepare(): void {
    this.#sql.exec("CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL)");
    this.#sql.exec("CREATE TABLE IF NOT EXISTS report (replica TEXT PRIMARY KEY, roles TEXT NOT NULL)");
  }

  /** The public key that this cluster's agents must hold; undefined before the first one joined. */
  pinnedKey(cluster: string): string | undefined {
    return this.#fact(`key:${cluster}`);
  }

  pin(cluster: string, key: string): void {
    if (this.pinnedKey(cluster) === undefined) this.#setFact(`key:${cluster}`, key);
  }

  seen(atMs: number): void {
    this.#setFact("seen", String(atMs));
  }

  lastSeenMs(): number | undefined {
    const text = this.#fact("seen");
    return text === undefined ? undefined : Number(text);
  }

  refuse(atMs: number, reason: string): void {
    this.#setFact("refused", JSON.stringify({ atMs, reason }));
  }

  report(replica: string, roles: Readonly<Record<string, unknown>>): void {
    this.#sql.exec(
      "INSERT INTO report VALUES (?, ?) ON CONFLICT (replica) DO UPDATE SET roles = excluded.roles",
      replica,
      JSON.stringify(roles),
    );
  }

  /** Whether these keys of the cluster's issuers differ from the last reported ones; remembers them. */
  isNewKeys(keys: Readonly<Record<string, PublicKeySet>>): boolean {
    const text = JSON.stringify(keys);
    if (this.#fact("keys") === text) return false;
    this.#setFact("keys", text);
    return true;
  }

  /** The agents behind these lanes, with their last reports. */
  describe(lanes: readonly LaneSocket[]): readonly AgentState[] {
    const replicas = Map.groupBy(lanes, (lane) => lane.attachment.joined?.replica ?? "");
    const refused = this.#fact("refused");
    return [...replicas].map(([replica, own]) => {
      const first = own[0]?.attachment.joined;
      return {
        replica,
        version: first?.build ?? "",
        connectedAt: new Date(Math.min(...own.map((lane) => lane.attachment.joined?.atMs ?? Number.POSITIVE_INFINITY))).toISOString(),
        lanes: own.length,
        ...(first !== undefined && first.node !== "" && { node: first.node }),
        roles: this.#roles(replica),
        ...(refused !== undefined && { lastError: refusalText(refused) }),
      };
    });
  }

  #roles(replica: string): Readonly<Record<string, unknown>> {
    const row = this.#sql.exec<{ roles: string }>("SELECT roles FROM report WHERE replica = ?", replica).toArray()[0];
    return row === undefined ? {} : JSON.parse(row.roles);
  }

  #fact(name: string): string | undefined {
    return this.#sql.exec<{ value: string }>("SELECT value FROM fact WHERE name = ?", name).toArray()[0]?.value;
  }

  #setFact(name: string, value: string): void {
    this.#sql.exec("INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value);
  }
}

function refusalText(fact: string): string {
  const { atMs, reason }: { atMs: number; reason: string } = JSON.parse(fact);
  return `an agent was refused at ${new Date(atMs).toISOString()}: ${reason}`;
}
