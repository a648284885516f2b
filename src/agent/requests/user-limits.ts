/**
 * How much of the agent one user may take, so that a runaway controller or a stolen token costs the others nothing: streams that are
 * open at once, and new requests in a second. The agent decides, because only it has verified who the user is.
 */
import { GatewayError } from "#core/errors.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

/** Watches, followed logs and upgrades of one user at once, unless the operator sets another number: some large controllers' worth. */
export const defaultStreamsPerUser = 2_000;

/** Short requests of one user that are not answered yet: far above any client's own concurrency. */
const maxShortRequests = 2_000;

/** New requests of one user: the rate that lasts, and how many may come at once. client-go's own default is 50 with a burst of 300. */
const requestsPerSecond = 5_000;
const requestBurst = 10_000;

/** Users that are remembered before those who have left are looked for and forgotten. */
const sweepAbove = 1_000;

interface UserAccount {
  long: number;
  short: number;
  tokens: number;
  filledAtMs: number;
}

export class UserLimits {
  readonly #users = new Map<string, UserAccount>();
  readonly #maxStreams: number;
  readonly #now: () => number;

  /** @param now milliseconds of any clock that moves with real time */
  constructor(maxStreams: number, now: () => number) {
    this.#maxStreams = maxStreams;
    this.#now = now;
  }

  /** Users that are remembered. */
  get userCount(): number {
    return this.#users.size;
  }

  /**
   * Counts a request in; call the returned function when it is over, once or more.
   * @throws GatewayError RATE_LIMITED
   */
  enter(user: Pick<VerifiedToken, "issuer" | "subject">, isLong: boolean): () => void {
    const key = JSON.stringify([user.issuer, user.subject]);
    const account = this.#users.get(key) ?? this.#addUser(key);
    this.#refill(account);
    if (account.tokens < 1) throw new GatewayError("RATE_LIMITED", `more than ${requestsPerSecond} requests a second by one user`);
    account.tokens -= 1;
    if (isLong && account.long >= this.#maxStreams)
      throw new GatewayError("RATE_LIMITED", `one user has at most ${this.#maxStreams} watches and streams open`);
    if (!isLong && account.short >= maxShortRequests)
      throw new GatewayError("RATE_LIMITED", `one user has at most ${maxShortRequests} requests under way`);
    const kind = isLong ? "long" : "short";
    account[kind] += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      account[kind] -= 1;
    };
  }

  #refill(account: UserAccount): void {
    const nowMs = this.#now();
    account.tokens = Math.min(requestBurst, account.tokens + ((nowMs - account.filledAtMs) / 1000) * requestsPerSecond);
    account.filledAtMs = nowMs;
  }

  #addUser(key: string): UserAccount {
    if (this.#users.size >= sweepAbove) this.#sweep();
    const account = { long: 0, short: 0, tokens: requestBurst, filledAtMs: this.#now() };
    this.#users.set(key, account);
    return account;
  }

  /** A user who has nothing open and a whole allowance is like one who was never here. */
  #sweep(): void {
    for (const [key, account] of this.#users) {
      this.#refill(account);
      if (account.long + account.short === 0 && account.tokens >= requestBurst) this.#users.delete(key);
    }
  }
}
