/** Lists that are read in pages: `continue` goes on in the list as it was when the first page was read. */
import { maxOpenLists } from "#sandbox/limits.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";

/** One page of a list. */
export interface Page {
  readonly items: readonly KubeObject[];
  readonly revision: number;
  /** Token for the next page; "" after the last one. */
  readonly next: string;
  readonly remaining: number;
}

interface Snapshot {
  readonly items: readonly KubeObject[];
  readonly revision: number;
  /** What was listed: a token is worth nothing on another list. */
  readonly scope: string;
}

/** Keeps the lists that were not read to their end, the newest ones. */
export class Snapshots {
  readonly #open = new Map<string, Snapshot>();
  #counter = 0;

  /** The first page of a list. */
  first(snapshot: Snapshot, limit: number): Page {
    if (limit === 0 || snapshot.items.length <= limit)
      return { items: snapshot.items, revision: snapshot.revision, next: "", remaining: 0 };
    this.#counter += 1;
    const id = String(this.#counter);
    this.#open.set(id, snapshot);
    const [oldest] = this.#open.keys();
    if (this.#open.size > maxOpenLists && oldest !== undefined) this.#open.delete(oldest);
    return pageOf(id, snapshot, { start: 0, limit });
  }

  /** A later page; undefined when the token is unknown, too old or of another list. */
  next(token: string, scope: string, limit: number): Page | undefined {
    const [id = "", position = ""] = Buffer.from(token, "base64url").toString("latin1").split(":");
    const snapshot = this.#open.get(id);
    const start = Number(position);
    if (snapshot === undefined || snapshot.scope !== scope || !Number.isInteger(start) || start < 0) return undefined;
    return pageOf(id, snapshot, { start, limit: limit === 0 ? snapshot.items.length : limit });
  }
}

function pageOf(id: string, snapshot: Snapshot, { start, limit }: { readonly start: number; readonly limit: number }): Page {
  const items = snapshot.items.slice(start, start + limit);
  const end = start + items.length;
  const remaining = Math.max(0, snapshot.items.length - end);
  return { items, revision: snapshot.revision, next: remaining === 0 ? "" : Buffer.from(`${id}:${end}`).toString("base64url"), remaining };
}
