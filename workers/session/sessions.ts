/**
 * The Durable Object that keeps browser sessions. Sixteen shards, chosen by the hash of the secret that the browser carries; the secret
 * itself is never stored. What must stay true: tokens are stored sealed only; a sign-in under way is used once, by the browser that began
 * it; a session ends at logout, when nobody looks at it, and after a day; a refresh token is used by one request at a time, because an
 * issuer that sees it twice ends them all (RFC 9700 section 4.14.2).
 */
import { DurableObject } from "cloudflare:workers";
import { GatewayError } from "#core/errors.ts";
import { readClientSecrets } from "./client-secrets.ts";
import { parseKeyRing } from "#workers/key-ring.ts";
import type { KeyRing, Owner } from "#workers/key-ring.ts";
import { sessionLimits } from "./limits.ts";
import { OidcClient } from "./oidc-client.ts";
import { hashSecret } from "./secret.ts";
import { toPerson } from "./sign-in.ts";
import type { Person, Session, SignIn, SignInStart } from "./sign-in.ts";
import { SessionStore } from "./store.ts";
import type { SessionNote } from "./store.ts";

/** How often what is over is removed. */
const sweepMs = 10 * 60_000;

export class Sessions extends DurableObject<Env> {
  readonly #store: SessionStore;
  readonly #renewals = new Map<string, Promise<void>>();
  #ring: Promise<KeyRing> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new SessionStore(ctx.storage.sql, () => Date.now());
  }

  /** Keeps a sign-in under way, for the browser with this mark. */
  async begin(state: string, browser: string, start: SignInStart): Promise<void> {
    const sealed = await this.#seal(start, ownerOf(state, "sign-in"));
    this.#store.putStart(await hashSecret(state), await hashSecret(browser), sealed);
    await this.#planSweep();
  }

  /** Takes a sign-in under way, once; undefined when it is not known (any more), or another browser began it. */
  async take(state: string, browser: string): Promise<SignInStart | undefined> {
    const sealed = this.#store.takeStart(await hashSecret(state), await hashSecret(browser));
    return sealed === undefined ? undefined : this.#open<SignInStart>(sealed, ownerOf(state, "sign-in"));
  }

  /** Makes a session under a secret of its own. */
  async create(secret: string, signIns: readonly SignIn[], createdAtMs: number): Promise<void> {
    const sealed = await this.#seal(signIns, ownerOf(secret, "session"));
    const owners = await hashPeople(signIns.map(toPerson));
    this.#store.putSession({ id: await hashSecret(secret), name: crypto.randomUUID(), createdAtMs, sealed, owners });
    await this.#planSweep();
  }

  /** This shard's sessions of these people. */
  async list(people: readonly Person[]): Promise<readonly SessionNote[]> {
    return this.#store.sessionsOf(await hashPeople(people));
  }

  /** Ends a session by its name, if it is one of these people's and of this shard; whether it was. */
  async endNamed(name: string, people: readonly Person[]): Promise<boolean> {
    return this.#store.endSession(name, await hashPeople(people));
  }

  /** The session of this secret, its ID tokens renewed where they have ended; those that cannot be are gone from it. */
  async look(secret: string): Promise<Session | undefined> {
    const id = await hashSecret(secret);
    const session = await this.#read(id, secret);
    const nowMs = Date.now();
    if (session === undefined || session.signIns.every((signIn) => !isEnding(signIn, nowMs))) return session;
    const renewal = this.#renewals.get(id) ?? this.#renew(id, secret, session).finally(() => this.#renewals.delete(id));
    this.#renewals.set(id, renewal);
    await renewal;
    return this.#read(id, secret);
  }

  /** Ends a session; what it held, for whoever makes the next one. */
  async end(secret: string): Promise<Session | undefined> {
    const id = await hashSecret(secret);
    const session = await this.#read(id, secret);
    this.#store.removeSession(id);
    return session;
  }

  override async alarm(): Promise<void> {
    if (this.#store.sweep()) await this.#planSweep();
  }

  async #read(id: string, secret: string): Promise<Session | undefined> {
    const stored = this.#store.seeSession(id);
    if (stored === undefined) return undefined;
    const signIns = await this.#open<readonly SignIn[]>(stored.sealed, ownerOf(secret, "session"));
    if (signIns === undefined) return undefined;
    return { name: stored.name, signIns, createdAtMs: stored.createdAtMs, endsAtMs: stored.createdAtMs + sessionLimits.absoluteMs };
  }

  async #renew(id: string, secret: string, session: Session): Promise<void> {
    const client = this.#client();
    const nowMs = Date.now();
    const signIns = await Promise.all(
      session.signIns.map(async (signIn) => (isEnding(signIn, nowMs) ? renewOrKeep(client, signIn) : signIn)),
    );
    const left = signIns.filter((signIn) => signIn !== undefined);
    if (left.length === 0) this.#store.removeSession(id);
    else this.#store.changeSession(id, await this.#seal(left, ownerOf(secret, "session")));
  }

  #client(): OidcClient {
    const secretOf = readClientSecrets(this.env);
    return new OidcClient({ gatewayUrl: this.env.GATEWAY_URL, fetch: (url, init) => fetch(url, init), secretOf, clock: () => Date.now() });
  }

  async #seal(value: unknown, owner: Owner): Promise<string> {
    return (await this.#keys()).seal(JSON.stringify(value), owner);
  }

  async #open<Value>(sealed: string, owner: Owner): Promise<Value | undefined> {
    const text = await (await this.#keys()).open(sealed, owner);
    return text === undefined ? undefined : JSON.parse(text);
  }

  async #keys(): Promise<KeyRing> {
    this.#ring ??= openRing(this.env);
    return this.#ring;
  }

  async #planSweep(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + sweepMs);
  }
}

async function openRing(env: Env): Promise<KeyRing> {
  const ring = await parseKeyRing(env.SESSION_KEYS ?? "");
  if (ring.type === "invalid") throw new GatewayError("CONFIGURATION_INVALID", ring.problems.join("; "));
  return ring.value;
}

function ownerOf(secret: string, purpose: Owner["purpose"]): Owner {
  return { secret, purpose };
}

/** People are found by hashes, so that the storage does not list them; who knows a person's name can still look for it. */
async function hashPeople(people: readonly Person[]): Promise<readonly string[]> {
  return Promise.all(people.map(({ issuer, subject }) => hashSecret(JSON.stringify([issuer, subject]))));
}

function isEnding(signIn: SignIn, nowMs: number): boolean {
  return signIn.expiresAtMs - nowMs < sessionLimits.renewBeforeMs;
}

/** The renewed sign-in, or none; the old one while its issuer cannot be reached: its refresh token may serve later. */
async function renewOrKeep(client: OidcClient, signIn: SignIn): Promise<SignIn | undefined> {
  try {
    return await client.renew(signIn);
  } catch {
    return signIn; // an ID token that has ended opens nothing, so nothing is lost by keeping it
  }
}
