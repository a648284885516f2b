/** The one way to a token: the environment's, the stored one, a renewed one, or a new sign-in. */
import type { Fetch } from "./bounded-fetch.ts";
import { withFileLock } from "./file-lock.ts";
import type { LockRequest, Locked, Time } from "./file-lock.ts";
import type { Environment } from "./paths.ts";
import { recallFailure, rememberFailure } from "./remembered-failure.ts";
import type { CredentialFailure } from "./remembered-failure.ts";
import { renewSession } from "./renewal.ts";
import { findRunnerToken } from "./runner-token.ts";
import { decodeTokenClaims } from "./token-claims.ts";
import { loginLockFile, readSession, sessionFiles, writeSession } from "./token-store.ts";
import type { Session, SessionKey, TokenStore } from "./token-store.ts";

/** Where tokens come from; all of it is given, so that a test owns it. */
export interface TokenSources {
  readonly env: Environment;
  readonly store: TokenStore;
  readonly time: Time;
  readonly fetch: Fetch;
  /** Trusts a private authority for the requests that follow. */
  readonly trust: (authorities: string) => Promise<void>;
  /** Signs the person in, and answers whether a session was stored. */
  readonly login: (key: SessionKey) => Promise<boolean>;
}

export interface TokenRequest {
  readonly key: SessionKey;
  /** The audience to ask a runner's token service for. */
  readonly audience: string | undefined;
  /** Whether a person is there to sign in. */
  readonly isInteractive: boolean;
}

export type TokenOutcome =
  | { readonly type: "token"; readonly token: string; readonly expiresAtMs: number | undefined }
  | { readonly type: "failed"; readonly failure: CredentialFailure };

/** A token is not handed out in its last half minute, so that it does not expire on its way. */
export const expiryMarginMs = 30_000;

/** A renewal is one request of at most 15 s. */
export const renewalLock = { maxHoldMs: 60_000, maxWaitMs: 60_000 } as const;

/** A person has ten minutes at most to sign in: the usual life of a device code. */
const loginLock = { maxHoldMs: 11 * 60_000, maxWaitMs: 11 * 60_000 } as const;

/** Finds, renews or asks for a token. Failures are remembered, so that many runs at once ask the issuer once. */
export async function obtainToken(sources: TokenSources, request: TokenRequest): Promise<TokenOutcome> {
  const runner = await findRunnerToken({ env: sources.env, audience: request.audience, fetch: sources.fetch });
  if (runner.type === "failed") return runner;
  if (runner.type === "token") return checkRunnerToken(runner.token, sources.time.now());
  const stored = await findStored(sources, request.key);
  if (stored !== undefined) return stored;
  const files = sessionFiles(sources.store, request.key);
  const renewed = await flatten(withFileLock(lockOf(sources, files.lock, renewalLock), () => renewUnderLock(sources, request.key)));
  if (renewed.type === "token" || !request.isInteractive || renewed.failure.code === "ISSUER_UNREACHABLE") return renewed;
  const path = loginLockFile(sources.store, request.key.gateway);
  return flatten(withFileLock(lockOf(sources, path, loginLock), () => loginUnderLock(sources, request.key)));
}

function checkRunnerToken(token: string, nowMs: number): TokenOutcome {
  const expiresAtMs = decodeTokenClaims(token)?.expiresAtMs;
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs)
    return failed("TOKEN_EXPIRED", "the token that the environment gives has expired", "Make the job ask for a new token.");
  return { type: "token", token, expiresAtMs };
}

/** The stored session when it can be used, or when its file may not be; undefined when it must be renewed or made. */
async function findStored(sources: TokenSources, key: SessionKey): Promise<TokenOutcome | undefined> {
  const stored = await readSession(sources.store, key);
  if (stored.type === "exposed")
    return failed(
      "TOKEN_INVALID",
      `others may read the session file ${stored.path}, so it is not used`,
      `rm '${stored.path}' && ${loginCommand(key)}`,
    );
  return stored.type === "found" ? usable(stored.session, sources.time.now()) : undefined;
}

function usable(session: Session, nowMs: number): TokenOutcome | undefined {
  if (session.expiresAtMs === undefined) return { type: "token", token: session.idToken, expiresAtMs: undefined };
  if (session.expiresAtMs - expiryMarginMs <= nowMs) return undefined;
  return { type: "token", token: session.idToken, expiresAtMs: session.expiresAtMs - expiryMarginMs };
}

/** Looks again, since another run may have renewed it meanwhile; then renews it, and remembers a failure. */
async function renewUnderLock(sources: TokenSources, key: SessionKey): Promise<TokenOutcome> {
  const now = sources.time.now();
  const found = await findStored(sources, key);
  if (found !== undefined) return found;
  const files = sessionFiles(sources.store, key);
  const remembered = await recallFailure(files.failure, now);
  if (remembered !== undefined) return { type: "failed", failure: remembered };
  const outcome = await renew(sources, key);
  if (outcome.type === "failed") await rememberFailure(files.failure, outcome.failure, sources.time.now());
  return outcome;
}

async function renew(sources: TokenSources, key: SessionKey): Promise<TokenOutcome> {
  const stored = await readSession(sources.store, key);
  if (stored.type !== "found") return failed("NOT_SIGNED_IN", `not signed in to ${describeKey(key)}`, loginCommand(key));
  const { session } = stored;
  const expired = failed("TOKEN_EXPIRED", `the sign-in to ${describeKey(key)} has expired`, loginCommand(key));
  if (session.renewal === undefined) return expired;
  if (session.authorities !== undefined) await sources.trust(session.authorities);
  const outcome = await renewSession(session, session.renewal, sources.fetch);
  switch (outcome.type) {
    case "renewed":
      await writeSession(sources.store, outcome.session);
      return (
        usable(outcome.session, sources.time.now()) ?? {
          type: "token",
          token: outcome.session.idToken,
          expiresAtMs: outcome.session.expiresAtMs,
        }
      );
    case "refused":
      // A spent refresh token sent again makes some issuers end every session of the person.
      await writeSession(sources.store, { ...session, renewal: undefined });
      return failed("TOKEN_EXPIRED", `the issuer does not renew the sign-in to ${describeKey(key)} (${outcome.reason})`, loginCommand(key));
    case "unreachable":
      return failed("ISSUER_UNREACHABLE", `the issuer ${session.renewal.issuer} gave no answer (${outcome.detail})`, "sallyport doctor");
  }
}

async function loginUnderLock(sources: TokenSources, key: SessionKey): Promise<TokenOutcome> {
  const found = await findStored(sources, key);
  if (found !== undefined) return found;
  const files = sessionFiles(sources.store, key);
  const remembered = await recallFailure(files.failure, sources.time.now());
  if (remembered?.code === "LOGIN_FAILED") return { type: "failed", failure: remembered };
  const isSignedIn = await sources.login(key);
  const after = isSignedIn ? await findStored(sources, key) : undefined;
  if (after !== undefined) return after;
  const outcome = failed("LOGIN_FAILED", `the sign-in to ${describeKey(key)} was not finished`, loginCommand(key));
  await rememberFailure(files.failure, outcome.failure, sources.time.now());
  return outcome;
}

function lockOf(sources: TokenSources, path: string, limits: { readonly maxHoldMs: number; readonly maxWaitMs: number }): LockRequest {
  return { path, ...limits, time: sources.time };
}

async function flatten(locked: Promise<Locked<TokenOutcome>>): Promise<TokenOutcome> {
  const result = await locked;
  return result.type === "done"
    ? result.value
    : failed("OVERLOADED", "another sallyport process keeps the session locked", "Try again in a minute.");
}

/** The command that makes a session for the key. */
export function loginCommand(key: SessionKey): string {
  return `sallyport login --gateway ${key.gateway}${key.cluster === undefined ? "" : ` --cluster ${key.cluster}`}`;
}

function failed(
  code: CredentialFailure["code"],
  message: string,
  next: string,
): { readonly type: "failed"; readonly failure: CredentialFailure } {
  return { type: "failed", failure: { code, message, next } };
}

/** What a session is for, in words. */
export function describeKey(key: SessionKey): string {
  return key.cluster === undefined ? `gateway ${key.gateway}` : `cluster "${key.cluster}"`;
}
