/** What a browser's sign-in is made of, from its beginning to the session that holds it. */
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { sessionLimits } from "./limits.ts";

/** A sign-in under way: kept until the issuer sends the browser back, and usable once. */
export interface SignInStart {
  readonly login: LoginConfiguration;
  /** Where the issuer sends the browser back to. */
  readonly redirectUri: string;
  readonly nonce: string;
  /** RFC 7636. */
  readonly codeVerifier: string;
  /** The page to show afterwards. */
  readonly returnTo: string;
  /** Whether the issuer was told to ask nothing (`prompt=none`): a refusal then is no failure. */
  readonly isSilent: boolean;
  /** Other clients of the same issuer to ask for afterwards, without a question. */
  readonly next: readonly LoginConfiguration[];
}

/** One issuer and client that a person has signed in with. */
export interface SignIn {
  readonly login: LoginConfiguration;
  readonly idToken: string;
  readonly refreshToken: string | undefined;
  /** The ID token's `sub` and `exp`. */
  readonly subject: string;
  readonly expiresAtMs: number;
  readonly signedInAtMs: number;
}

/** Somebody, as an issuer names them. */
export interface Person {
  readonly issuer: string;
  readonly subject: string;
}

/** A session as its pages see it. */
export interface Session {
  /** Names the session and opens nothing. */
  readonly name: string;
  readonly signIns: readonly SignIn[];
  readonly createdAtMs: number;
  /** When it ends however much it is used. */
  readonly endsAtMs: number;
}

export function toPerson({ login, subject }: SignIn): Person {
  return { issuer: login.issuer, subject };
}

/** The people that a session is signed in as, each once. */
export function peopleOf(session: Pick<Session, "signIns">): readonly Person[] {
  const people = session.signIns.map(toPerson);
  return people.filter(
    (person, index) => people.findIndex(({ issuer, subject }) => issuer === person.issuer && subject === person.subject) === index,
  );
}

/** Whether two logins are the same client of the same issuer. */
export function isSameLogin(left: LoginConfiguration, right: LoginConfiguration): boolean {
  return left.issuer === right.issuer && left.clientId === right.clientId;
}

/**
 * A session's sign-ins with one more, in the place of the one with the same client. Where a person has chosen who to be at an issuer, and
 * is somebody else than before, all of that issuer's others go: a session is never two people. An issuer that was told to ask nothing
 * speaks of the person it knows already; it may give each client another name for the same one (pairwise subjects).
 */
export function withSignIn(signIns: readonly SignIn[], added: SignIn, isSilent: boolean): readonly SignIn[] {
  const isOtherPerson = ({ login, subject }: SignIn) => !isSilent && login.issuer === added.login.issuer && subject !== added.subject;
  const kept = signIns.filter((signIn) => !isSameLogin(signIn.login, added.login) && !isOtherPerson(signIn));
  return [...kept.slice(-(sessionLimits.maxSignIns - 1)), added];
}
