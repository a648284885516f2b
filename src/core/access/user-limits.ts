/**
 * How much one user may take, so that a runaway controller or a stolen token costs the others nothing: streams that are open at once,
 * requests that are under way, and new requests in a second. The gateway counts before it troubles the cluster's Durable Object and its
 * agent, which all users share; the agent counts again, for itself and with a token that it has verified itself.
 */
import { GatewayError } from "#core/errors.ts";

/** Watches, followed logs and upgrades of one user at once, unless the operator sets another number: some large controllers' worth. */
export const defaultStreamsPerUser = 2_000;

/** What one user may take of one gateway isolate or agent replica. */
export interface UserAllowance {
  readonly maxStreams: number;
  /** Short requests that are not answered yet. */
  readonly maxShortRequests: number;
  /** New requests: the rate that lasts, and how many may come at once. */
  readonly requestsPerSecond: number;
  readonly requestBurst: number;
  /** How many requests one counts for that its client leaves before the answer: the cluster has worked, and nobody waited. */
  readonly abandonedCost: number;
}

/** Far above any client's own limits: client-go's default is 50 requests a second with a burst of 300. */
export function agentAllowance(maxStreams: number): UserAllowance {
  return { maxStreams, maxShortRequests: 2_000, requestsPerSecond: 5_000, requestBurst: 10_000, abandonedCost: 1 };
}

/**
 * Narrower, because all users of a cluster pass one Durable Object, which is one thread: as many requests under way as an apiserver takes
 * from everybody together (`--max-requests-inflight`), and resets at a twentieth of the rate.
 */
export function gatewayAllowance(maxStreams: number): UserAllowance {
  return { maxStreams, maxShortRequests: 400, requestsPerSecond: 2_000, requestBurst: 4_000, abandonedCost: 20 };
}

/** Users that are remembered before those who have left are looked for and forgotten. */
const sweepAbove = 1_000;

/** Whose requests are counted together. */
export interface LimitedUser {
  readonly issuer: string;
  readonly subject: string;
  /** Where one place serves several clusters. */
  readonly cluster?: string;
}

/** Counts a request out, once or more; `abandoned`: its client left before the answer. */
export type Leave = (how?: "answered" | "abandoned") => void;

interface UserAccount {
  long: number;
  short: number;
  tokens: number;
  filledAtMs: number;
}

export class UserLimits {
  readonly #users = new Map<string, UserAccount>();
  readonly #allowance: UserAllowance;
  readonly #now: () => number;

  /** @param now milliseconds of any clock that moves with real time */
  constructor(allowance: UserAllowance, now: () => number) {
    this.#allowance = allowance;
    this.#now = now;
  }

  /** Users that are remembered. */
  get userCount(): number {
    return this.#users.size;
  }

  /**
   * Counts a request in.
   * @throws GatewayError RATE_LIMITED
   */
  enter(user: LimitedUser, isLong: boolean): Leave {
    const { maxStreams, maxShortRequests, requestsPerSecond, abandonedCost } = this.#allowance;
    const key = JSON.stringify([user.cluster, user.issuer, user.subject]);
    const account = this.#users.get(key) ?? this.#addUser(key);
    this.#refill(account);
    if (account.tokens < 1) throw new GatewayError("RATE_LIMITED", `more than ${requestsPerSecond} requests a second by one user`);
    account.tokens -= 1;
    if (isLong && account.long >= maxStreams)
      throw new GatewayError("RATE_LIMITED", `one user has at most ${maxStreams} watches and streams open`);
    if (!isLong && account.short >= maxShortRequests)
      throw new GatewayError("RATE_LIMITED", `one user has at most ${maxShortRequests} requests under way`);
    const kind = isLong ? "long" : "short";
    account[kind] += 1;
    let isOver = false;
    return (how = "answered") => {
      if (isOver) return;
      isOver = true;
      account[kind] -= 1;
      if (how === "abandoned") account.tokens -= abandonedCost - 1;
    };
  }

  #refill(account: UserAccount): void {
    const { requestsPerSecond, requestBurst } = this.#allowance;
    const nowMs = this.#now();
    // A clock that was set back gives nothing, and takes nothing.
    const elapsedMs = Math.max(0, nowMs - account.filledAtMs);
    account.tokens = Math.min(requestBurst, account.tokens + (elapsedMs / 1000) * requestsPerSecond);
    account.filledAtMs = nowMs;
  }

  #addUser(key: string): UserAccount {
    if (this.#users.size >= sweepAbove) this.#sweep();
    const account = { long: 0, short: 0, tokens: this.#allowance.requestBurst, filledAtMs: this.#now() };
    this.#users.set(key, account);
    return account;
  }

  /** A user who has nothing open and a whole allowance is like one who was never here. */
  #sweep(): void {
    for (const [key, account] of this.#users) {
      this.#refill(account);
      if (account.long + account.short === 0 && account.tokens >= this.#allowance.requestBurst) this.#users.delete(key);
    }
  }
}
