/** Which of the gateway's own tokens were revoked, as this isolate knows it: asked again before each use, a second old at most. */
import { issuerLimits } from "./limits.ts";
import type { TokenIssuerStub } from "./issued-token.ts";

interface Known {
  readonly ids: ReadonlySet<string>;
  readonly atMs: number;
}

/** Clusters remembered at once; each is one short list. */
const maxClusters = 2_000;

export class RevocationBook {
  readonly #known = new Map<string, Known>();

  /** Forgets what is known of a cluster, because it has just changed. */
  forget(cluster: string): void {
    this.#known.delete(cluster);
  }

  /** Whether a token of a cluster was revoked. A token without an id cannot be, so it counts as one that was. */
  async isRevoked(issuer: TokenIssuerStub, cluster: string, tokenId: string | undefined): Promise<boolean> {
    if (tokenId === undefined) return true;
    const known = this.#known.get(cluster);
    if (known !== undefined && Date.now() - known.atMs < issuerLimits.knownMs) return known.ids.has(tokenId);
    const atMs = Date.now();
    const ids = new Set(await issuer.revoked(cluster));
    if (this.#known.size >= maxClusters) this.#known.clear();
    this.#known.set(cluster, { ids, atMs });
    return ids.has(tokenId);
  }
}
