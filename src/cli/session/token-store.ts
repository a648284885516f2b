/** The store of sessions: one private file for each gateway and cluster (each cluster has an audience of its own). */
import { createHash } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isReadableByOthers, isSystemError, readPrivateJson, writePrivateJson } from "./private-file.ts";
import type { JsonObject } from "./private-file.ts";

/** What a session is for: a gateway's own API, or one cluster behind it. */
export interface SessionKey {
  readonly gateway: string;
  readonly cluster: string | undefined;
}

/** What is needed to renew a session at its issuer without asking the person (RFC 6749 section 6). */
export interface Renewal {
  readonly issuer: string;
  readonly clientId: string;
  readonly tokenEndpoint: string;
  readonly refreshToken: string;
}

export interface Session {
  readonly key: SessionKey;
  readonly idToken: string;
  /** In milliseconds since 1970; undefined for a token that does not say. */
  readonly expiresAtMs: number | undefined;
  readonly renewal: Renewal | undefined;
  /** PEM certificates of the gateway's and issuer's own authority, when they have one. */
  readonly authorities: string | undefined;
}

/** What the store has; `exposed` when others may read the file, so that its token counts as lost. */
export type StoredSession =
  | { readonly type: "found"; readonly session: Session }
  | { readonly type: "absent" }
  | { readonly type: "exposed"; readonly path: string };

export interface TokenStore {
  readonly directory: string;
  readonly platform: NodeJS.Platform;
}

/** The files of one key: its session, its lock and its remembered failure. */
export interface SessionFiles {
  readonly session: string;
  readonly lock: string;
  readonly failure: string;
}

export function createTokenStore(stateDirectory: string, platform: NodeJS.Platform): TokenStore {
  return { directory: join(stateDirectory, "sessions"), platform };
}

export function sessionFiles(store: TokenStore, key: SessionKey): SessionFiles {
  const id = createHash("sha256")
    .update(JSON.stringify([key.gateway, key.cluster ?? null]))
    .digest("hex")
    .slice(0, 32);
  const at = (suffix: string): string => join(store.directory, `${id}.${suffix}`);
  return { session: at("session.json"), lock: at("lock"), failure: at("failure.json") };
}

/** The lock that lets one login at a time wait for a person, for all clusters of a gateway. */
export function loginLockFile(store: TokenStore, gateway: string): string {
  return join(store.directory, `${createHash("sha256").update(gateway).digest("hex").slice(0, 32)}.login.lock`);
}

export async function readSession(store: TokenStore, key: SessionKey): Promise<StoredSession> {
  const path = sessionFiles(store, key).session;
  const stored = await readFileAsSession(store, path);
  const same = stored.type !== "found" || (stored.session.key.gateway === key.gateway && stored.session.key.cluster === key.cluster);
  return same ? stored : { type: "absent" };
}

/** Stores the session and forgets an earlier failure. */
export async function writeSession(store: TokenStore, session: Session): Promise<void> {
  const files = sessionFiles(store, session.key);
  await writePrivateJson(files.session, { version: 1, ...session });
  await rm(files.failure, { force: true });
}

/** Removes the session; answers whether there was one. */
export async function removeSession(store: TokenStore, key: SessionKey): Promise<boolean> {
  const files = sessionFiles(store, key);
  await rm(files.failure, { force: true });
  try {
    await rm(files.session);
    return true;
  } catch (thrown) {
    if (isSystemError(thrown, "ENOENT")) return false;
    throw thrown;
  }
}

/** Every readable session of the gateway, or of all gateways. */
export async function listSessions(store: TokenStore, gateway?: string): Promise<readonly Session[]> {
  const names = await readdir(store.directory).catch((thrown: unknown) => {
    if (isSystemError(thrown, "ENOENT")) return [];
    throw thrown;
  });
  const found: Session[] = [];
  for (const name of names.filter((item) => item.endsWith(".session.json")).toSorted()) {
    const stored = await readFileAsSession(store, join(store.directory, name));
    if (stored.type === "found" && (gateway === undefined || stored.session.key.gateway === gateway)) found.push(stored.session);
  }
  return found;
}

async function readFileAsSession(store: TokenStore, path: string): Promise<StoredSession> {
  if (await isReadableByOthers(path, store.platform)) return { type: "exposed", path };
  const session = parseSession(await readPrivateJson(path));
  return session === undefined ? { type: "absent" } : { type: "found", session };
}

function parseSession(record: JsonObject | undefined): Session | undefined {
  const key = parseKey(record?.["key"]);
  const idToken = record?.["idToken"];
  if (record?.["version"] !== 1 || key === undefined || typeof idToken !== "string") return undefined;
  const { expiresAtMs, authorities } = record;
  return {
    key,
    idToken,
    expiresAtMs: typeof expiresAtMs === "number" ? expiresAtMs : undefined,
    renewal: parseRenewal(record["renewal"]),
    authorities: typeof authorities === "string" ? authorities : undefined,
  };
}

function parseKey(input: unknown): SessionKey | undefined {
  if (input === null || typeof input !== "object" || !("gateway" in input) || typeof input.gateway !== "string") return undefined;
  const cluster = "cluster" in input ? input.cluster : undefined;
  return { gateway: input.gateway, cluster: typeof cluster === "string" ? cluster : undefined };
}

function parseRenewal(input: unknown): Renewal | undefined {
  const record: Partial<Record<string, unknown>> = input !== null && typeof input === "object" ? { ...input } : {};
  const { issuer, clientId, tokenEndpoint, refreshToken } = record;
  if (typeof issuer !== "string" || typeof clientId !== "string") return undefined;
  if (typeof tokenEndpoint !== "string" || typeof refreshToken !== "string") return undefined;
  return { issuer, clientId, tokenEndpoint, refreshToken };
}
