/**
 * The Durable Object that makes the gateway an issuer: it signs tokens for kubeconfigs that need no plugin, and knows which were revoked.
 * What must stay true: a token is for one cluster, says of its person what that cluster's own configuration says and nothing more, lives
 * eight hours, and was noted before it was given out. A cluster trusts it only if its AuthenticationConfiguration names the gateway.
 */
import { DurableObject } from "cloudflare:workers";
import { exportJWK, generateKeyPair, importJWK, SignJWT } from "jose";
import type { JWK } from "jose";
import { GatewayError } from "#core/errors.ts";
import type { PublicKeySet } from "#core/gateway-api.ts";
import { parseKeyRing } from "#workers/key-ring.ts";
import type { KeyRing, Owner } from "#workers/key-ring.ts";
import type { Issuance, IssuedToken, OwnedToken, TokenOwner, TokenRequest } from "./issued-token.ts";
import { planKeys } from "./key-schedule.ts";
import { IssuerStore } from "./store.ts";
import type { StoredKey } from "./store.ts";

const algorithm = "ES256";

export class TokenIssuer extends DurableObject<Env> {
  readonly #store: IssuerStore;
  #turning: Promise<void> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new IssuerStore(ctx.storage.sql, () => Date.now());
  }

  /** The keys that verifiers may meet now or soon. */
  async publicKeys(): Promise<PublicKeySet> {
    await this.#turnKeys();
    return { keys: this.#store.keys().map(({ publicKey }) => publicKey) };
  }

  async issue(request: TokenRequest): Promise<Issuance> {
    const { id: keyId, privateKey } = await this.#signingKey();
    const issued = this.#store.addToken(crypto.randomUUID(), request);
    if (issued === undefined) return { type: "too-many" };
    const { issuer, audience, username, uid, groups } = request;
    const token = await new SignJWT({ groups: [...groups], ...(uid !== "" && { uid }) })
      .setProtectedHeader({ alg: algorithm, kid: keyId, typ: "JWT" })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(username)
      .setJti(issued.id)
      .setIssuedAt(Math.floor(issued.issuedAtMs / 1000))
      .setExpirationTime(Math.floor(issued.expiresAtMs / 1000))
      .sign(privateKey);
    return { type: "issued", token, issued };
  }

  list(owners: readonly TokenOwner[]): readonly IssuedToken[] {
    return owners.flatMap((owner) => this.#store.tokensOf(owner)).toSorted((left, right) => right.issuedAtMs - left.issuedAtMs);
  }

  /** Revokes a token of one of these owners; its cluster, or undefined when there is no such token. */
  revoke(id: string, owners: readonly TokenOwner[]): string | undefined {
    return owners.map((owner) => this.#store.revoke(id, owner)).find((cluster) => cluster !== undefined);
  }

  /** Whose a token is. */
  ownerOf(id: string): TokenOwner | undefined {
    return this.#store.ownerOf(id);
  }

  /** All live tokens, the newest first: for admins. */
  listAll(): readonly OwnedToken[] {
    return this.#store.allTokens();
  }

  revoked(cluster: string): readonly string[] {
    return this.#store.revoked(cluster);
  }

  /** Makes a key that is due and forgets those that are over: one call at a time, so that no two make one. */
  async #turnKeys(): Promise<void> {
    this.#turning = this.#turning.then(async () => {
      const plan = planKeys(this.#store.keys(), Date.now());
      if (plan.wantsNewKey) this.#store.addKey(await createKey(await openRing(this.env)));
      for (const { id } of plan.expired) this.#store.removeKey(id);
    });
    const turned = this.#turning;
    this.#turning = turned.catch(() => undefined); // whoever asked gets the failure; the next one tries again
    await turned;
  }

  /** The key that signs now. Where SESSION_KEYS has lost what sealed it, a new one is made and signs at once. */
  async #signingKey(): Promise<{ readonly id: string; readonly privateKey: CryptoKey }> {
    await this.#turnKeys();
    const ring = await openRing(this.env);
    const ready = planKeys(this.#store.keys(), Date.now()).ready.toReversed();
    for (const key of ready) {
      const text = await ring.open(key.sealed, owner);
      if (text !== undefined) return { id: key.id, privateKey: await importPrivate(JSON.parse(text)) };
    }
    const key = await createKey(ring);
    this.#store.addKey(key);
    return { id: key.id, privateKey: await importPrivate(JSON.parse((await ring.open(key.sealed, owner)) ?? "")) };
  }
}

/** The private key is sealed for nobody in particular: it is the gateway's own. */
const owner: Owner = { secret: "", purpose: "signing-key" };

async function createKey(ring: KeyRing): Promise<StoredKey> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const id = crypto.randomUUID();
  const published = { ...(await exportJWK(publicKey)), kid: id, alg: algorithm, use: "sig" };
  const sealed = await ring.seal(JSON.stringify(await exportJWK(privateKey)), owner);
  return { id, createdAtMs: Date.now(), publicKey: published, sealed };
}

async function importPrivate(jwk: JWK): Promise<CryptoKey> {
  const key = await importJWK(jwk, algorithm);
  if (key instanceof Uint8Array) throw new TypeError("an ES256 key is no bytes");
  return key;
}

/** @throws GatewayError CONFIGURATION_INVALID */
async function openRing(env: Env): Promise<KeyRing> {
  const ring = await parseKeyRing(env.SESSION_KEYS ?? "");
  if (ring.type === "invalid") throw new GatewayError("CONFIGURATION_INVALID", ring.problems.join("; "));
  return ring.value;
}
