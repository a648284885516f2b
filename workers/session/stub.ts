/** The shards of sessions as the Worker calls them. */
import { hashSecret } from "./secret.ts";
import type { Session, SignIn, SignInStart } from "./sign-in.ts";

export interface SessionsStub {
  begin(state: string, browser: string, start: SignInStart): Promise<void>;
  take(state: string, browser: string): Promise<SignInStart | undefined>;
  create(secret: string, signIns: readonly SignIn[], createdAtMs: number): Promise<void>;
  look(secret: string): Promise<Session | undefined>;
  end(secret: string): Promise<Session | undefined>;
}

/** The shard that keeps what belongs to a secret: a session's, or the state of a sign-in under way. */
export async function sessionsOf(env: Env, secret: string): Promise<SessionsStub> {
  return env.SESSIONS.getByName(`shard-${(await hashSecret(secret)).slice(0, 1)}`);
}
