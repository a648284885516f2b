/** The shards of sessions as the Worker calls them. */
import { hashSecret } from "./secret.ts";
import type { Person, Session, SignIn, SignInStart } from "./sign-in.ts";
import type { SessionNote } from "./store.ts";

export interface SessionsStub {
  begin(state: string, browser: string, start: SignInStart): Promise<void>;
  take(state: string, browser: string): Promise<SignInStart | undefined>;
  create(secret: string, signIns: readonly SignIn[], createdAtMs: number): Promise<void>;
  look(secret: string): Promise<Session | undefined>;
  end(secret: string): Promise<Session | undefined>;
  list(people: readonly Person[]): Promise<readonly SessionNote[]>;
  endNamed(name: string, people: readonly Person[]): Promise<boolean>;
}

/** The shard that keeps what belongs to a secret: a session's, or the state of a sign-in under way. */
export async function sessionsOf(env: Env, secret: string): Promise<SessionsStub> {
  return shard(env, (await hashSecret(secret)).slice(0, 1));
}

/** The sessions of these people in all shards, the newest first. */
export async function listSessions(env: Env, people: readonly Person[]): Promise<readonly SessionNote[]> {
  const lists = await Promise.all(shardNames.map((name) => shard(env, name).list(people)));
  return lists.flat().toSorted((left, right) => right.createdAtMs - left.createdAtMs);
}

/** Ends a session by its name, if it is one of these people's; whether it was. */
export async function endNamedSession(env: Env, name: string, people: readonly Person[]): Promise<boolean> {
  return (await Promise.all(shardNames.map((shardName) => shard(env, shardName).endNamed(name, people)))).includes(true);
}

const shardNames = Array.from({ length: 16 }, (_, index) => index.toString(16));

function shard(env: Env, name: string): SessionsStub {
  return env.SESSIONS.getByName(`shard-${name}`);
}
