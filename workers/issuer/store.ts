/** The tables of the issuer: its keys, sealed, and the tokens that it gave out, without the tokens. */
import type { PublicKeySet } from "#core/gateway-api.ts";
import type { IssuedToken, OwnedToken, TokenOwner, TokenRequest } from "./issued-token.ts";
import type { DatedKey } from "./key-schedule.ts";
import { issuerLimits } from "./limits.ts";

export interface StoredKey extends DatedKey {
  readonly publicKey: PublicKeySet["keys"][number];
  /** The private JWK, sealed. */
  readonly sealed: string;
}

type KeyRow = { readonly id: string; readonly created_at: number; readonly public_key: string; readonly sealed: string };
type TokenRow = {
  readonly id: string;
  readonly cluster: string;
  readonly username: string;
  readonly issued_at: number;
  readonly expires_at: number;
};

type OwnedRow = TokenRow & { readonly issuer: string; readonly subject: string };

export class IssuerStore {
  readonly #sql: SqlStorage;
  readonly #clock: () => number;

  constructor(sql: SqlStorage, clock: () => number) {
    this.#sql = sql;
    this.#clock = clock;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS signing_key (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, public_key TEXT NOT NULL, sealed TEXT NOT NULL)",
    );
    sql.exec(
      "CREATE TABLE IF NOT EXISTS token (id TEXT PRIMARY KEY, cluster TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, " +
        "username TEXT NOT NULL, issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, is_revoked INTEGER NOT NULL DEFAULT 0)",
    );
    sql.exec("CREATE INDEX IF NOT EXISTS token_cluster ON token (cluster, is_revoked)");
    sql.exec("CREATE INDEX IF NOT EXISTS token_owner ON token (issuer, subject)");
  }

  /** All keys, the oldest first. */
  keys(): readonly StoredKey[] {
    const rows = this.#sql.exec<KeyRow>("SELECT * FROM signing_key ORDER BY created_at, rowid").toArray();
    return rows.map((row) => ({ id: row.id, createdAtMs: row.created_at, publicKey: JSON.parse(row.public_key), sealed: row.sealed }));
  }

  addKey(key: StoredKey): void {
    this.#sql.exec("INSERT INTO signing_key VALUES (?, ?, ?, ?)", key.id, key.createdAtMs, JSON.stringify(key.publicKey), key.sealed);
  }

  removeKey(id: string): void {
    this.#sql.exec("DELETE FROM signing_key WHERE id = ?", id);
  }

  /** Notes a token before it is given out; undefined when its owner has too many for this cluster. */
  addToken(id: string, request: TokenRequest): IssuedToken | undefined {
    const nowMs = this.#clock();
    const { cluster, owner, username } = request;
    this.#sql.exec("DELETE FROM token WHERE expires_at <= ?", nowMs - issuerLimits.retiredMs);
    const { live } = this.#sql
      .exec<{ live: number }>(
        "SELECT count(*) AS live FROM token WHERE cluster = ? AND issuer = ? AND subject = ? AND is_revoked = 0 AND expires_at > ?",
        ...[cluster, owner.issuer, owner.subject, nowMs],
      )
      .one();
    if (live >= issuerLimits.maxLiveTokens) return undefined;
    const issued = { id, cluster, username, issuedAtMs: nowMs, expiresAtMs: nowMs + issuerLimits.tokenMs };
    this.#sql.exec(
      "INSERT INTO token (id, cluster, issuer, subject, username, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
      ...[id, cluster, owner.issuer, owner.subject, username, nowMs, issued.expiresAtMs],
    );
    return issued;
  }

  /** The live tokens of an owner, the newest first. */
  tokensOf(owner: TokenOwner): readonly IssuedToken[] {
    const rows = this.#sql
      .exec<TokenRow>(
        "SELECT id, cluster, username, issued_at, expires_at FROM token WHERE issuer = ? AND subject = ? AND is_revoked = 0 AND expires_at > ? " +
          "ORDER BY issued_at DESC, rowid DESC",
        ...[owner.issuer, owner.subject, this.#clock()],
      )
      .toArray();
    return rows.map(toIssued);
  }

  /** The newest live tokens of all people, so many at most. */
  allTokens(): readonly OwnedToken[] {
    const rows = this.#sql
      .exec<OwnedRow>(
        "SELECT * FROM token WHERE is_revoked = 0 AND expires_at > ? ORDER BY issued_at DESC, rowid DESC LIMIT ?",
        ...[this.#clock(), issuerLimits.maxListed],
      )
      .toArray();
    return rows.map((row) => ({ ...toIssued(row), owner: { issuer: row.issuer, subject: row.subject } }));
  }

  ownerOf(id: string): TokenOwner | undefined {
    return this.#sql.exec<{ issuer: string; subject: string }>("SELECT issuer, subject FROM token WHERE id = ?", id).toArray()[0];
  }

  /** Revokes a token of this owner; its cluster, or undefined when there is no such token. */
  revoke(id: string, owner: TokenOwner): string | undefined {
    return this.#sql
      .exec<{ cluster: string }>(
        "UPDATE token SET is_revoked = 1 WHERE id = ? AND issuer = ? AND subject = ? AND is_revoked = 0 RETURNING cluster",
        ...[id, owner.issuer, owner.subject],
      )
      .toArray()[0]?.cluster;
  }

  /** The tokens of a cluster that were revoked and have not ended by themselves. */
  revoked(cluster: string): readonly string[] {
    return this.#sql
      .exec<{ id: string }>("SELECT id FROM token WHERE cluster = ? AND is_revoked = 1 AND expires_at > ?", cluster, this.#clock() - 60_000)
      .toArray()
      .map(({ id }) => id);
  }
}

function toIssued(row: TokenRow): IssuedToken {
  const { id, cluster, username } = row;
  return { id, cluster, username, issuedAtMs: row.issued_at, expiresAtMs: row.expires_at };
}
