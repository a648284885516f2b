import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Sessions } from "#agent/requests/sessions.ts";
import type { SessionStream } from "#agent/requests/sessions.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(0);
});
afterEach(() => vi.useRealTimers());

function token(expiresAtMs: number, changes: Partial<VerifiedToken> = {}): VerifiedToken {
  const identity = { username: "oidc:alice", uid: "", groups: ["a", "b"], extra: {} };
  return { type: "verified", issuer: "https://i", subject: "alice", tokenId: undefined, issuedAtMs: 0, identity, expiresAtMs, ...changes };
}

function stream() {
  return { onExpired: vi.fn(), onExtended: vi.fn() } satisfies SessionStream;
}

describe("a stream's credential", () => {
  test("ends the stream at its expiry, to the second", () => {
    const sessions = new Sessions(Date.now);
    const watched = stream();
    sessions.enter(token(10_000), watched);
    vi.advanceTimersByTime(9_999);
    expect(watched.onExpired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(watched.onExpired).toHaveBeenCalledOnce();
  });

  test("is extended by a later token of the same owner and identity, group order aside", () => {
    const sessions = new Sessions(Date.now);
    const watched = stream();
    sessions.enter(token(10_000), watched);
    const { identity } = token(0);
    sessions.renew(token(20_000, { identity: { ...identity, groups: ["b", "a"] } }));
    expect(watched.onExtended).toHaveBeenCalledExactlyOnceWith(20_000);
    vi.advanceTimersByTime(19_999);
    expect(watched.onExpired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(watched.onExpired).toHaveBeenCalledOnce();
  });

  const strangers: readonly [string, VerifiedToken][] = [
    ["of another subject", token(20_000, { subject: "bob" })],
    ["of another issuer", token(20_000, { issuer: "https://j" })],
    ["that maps to fewer groups", token(20_000, { identity: { ...token(0).identity, groups: ["a"] } })],
    ["that maps to another username", token(20_000, { identity: { ...token(0).identity, username: "oidc:bob" } })],
    ["that ends earlier", token(5_000)],
  ];
  test.each(strangers)("is not changed by a token %s", (_what, other) => {
    const sessions = new Sessions(Date.now);
    const watched = stream();
    sessions.enter(token(10_000), watched);
    sessions.renew(other);
    expect(watched.onExtended).not.toHaveBeenCalled();
    vi.advanceTimersByTime(10_000);
    expect(watched.onExpired).toHaveBeenCalledOnce();
  });

  test("lasts longer than a timer can hold", () => {
    const sessions = new Sessions(Date.now);
    const watched = stream();
    const farMs = 2 ** 31 + 5_000;
    sessions.enter(token(farMs), watched);
    vi.advanceTimersByTime(farMs - 1);
    expect(watched.onExpired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(watched.onExpired).toHaveBeenCalledOnce();
  });

  test("is forgotten with the stream", () => {
    const sessions = new Sessions(Date.now);
    const watched = stream();
    const leave = sessions.enter(token(10_000), watched);
    leave();
    vi.advanceTimersByTime(20_000);
    expect(watched.onExpired).not.toHaveBeenCalled();
    expect(sessions.streamCount).toBe(0);
  });
});
