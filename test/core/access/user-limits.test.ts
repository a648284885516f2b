import { expect, test } from "vitest";
import { agentAllowance, gatewayAllowance, UserLimits } from "#core/access/user-limits.ts";

const alice = { issuer: "https://issuer.example", subject: "alice" };
const bob = { issuer: "https://issuer.example", subject: "bob" };

test("one user's streams end at the limit and go on when one was closed; another user's do not count", () => {
  const limits = new UserLimits(agentAllowance(2), () => 0);
  const leave = limits.enter(alice, true);
  limits.enter(alice, true);
  expect(() => limits.enter(alice, true)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
  limits.enter(alice, false);
  limits.enter(bob, true);
  leave();
  leave();
  limits.enter(alice, true);
  expect(() => limits.enter(alice, true)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
});

test("10,000 requests at once use up a user's allowance, which fills with time", () => {
  let nowMs = 0;
  const limits = new UserLimits(agentAllowance(1), () => nowMs);
  for (let index = 0; index < 10_000; index++) limits.enter(alice, false)();
  expect(() => limits.enter(alice, false)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
  limits.enter(bob, false)();
  nowMs = 1;
  for (let index = 0; index < 5; index++) limits.enter(alice, false)();
  expect(() => limits.enter(alice, false)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
});

test("a clock that is set back gives nothing and takes nothing", () => {
  let nowMs = 3_600_000;
  const limits = new UserLimits(agentAllowance(1), () => nowMs);
  limits.enter(alice, false)();
  nowMs = 0;
  limits.enter(alice, false)();
});

test("requests that are never answered are bounded too", () => {
  const limits = new UserLimits(agentAllowance(1), () => 0);
  for (let index = 0; index < 2_000; index++) limits.enter(alice, false);
  expect(() => limits.enter(alice, false)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
});

test("the same subject of another issuer is another user", () => {
  const limits = new UserLimits(agentAllowance(1), () => 0);
  limits.enter(alice, true);
  limits.enter({ ...alice, issuer: "https://other.example" }, true);
});

test("users who have left are forgotten before they are many", () => {
  let nowMs = 0;
  const limits = new UserLimits(agentAllowance(1), () => nowMs);
  limits.enter(alice, true);
  for (let index = 0; index < 5_000; index++) {
    nowMs += 1;
    limits.enter({ ...bob, subject: `user-${index}` }, true)();
  }
  expect(limits.userCount).toBeLessThanOrEqual(1_000);
  expect(() => limits.enter(alice, true)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
});

test("a client that leaves before the answer uses up its allowance twenty times as fast at the gateway, and slowly at the agent", () => {
  const requestsUntilRefused = (limits: UserLimits) => {
    for (let count = 0; ; count++) {
      try {
        limits.enter(alice, false)("abandoned");
      } catch {
        return count;
      }
    }
  };
  expect(requestsUntilRefused(new UserLimits(gatewayAllowance(1), () => 0))).toBe(200);
  expect(requestsUntilRefused(new UserLimits(agentAllowance(1), () => 0))).toBe(10_000);
});

test("one user's requests to different clusters are counted apart", () => {
  const limits = new UserLimits(gatewayAllowance(1), () => 0);
  limits.enter({ ...alice, cluster: "one" }, true);
  limits.enter({ ...alice, cluster: "two" }, true);
  expect(() => limits.enter({ ...alice, cluster: "one" }, true)).toThrow(expect.objectContaining({ code: "RATE_LIMITED" }));
});
