import { describe, expect, it } from "vitest";
import { isAvailable, isEjected, nextHealth, share, unprovenHealth } from "#agent/apiserver/health.ts";
import type { Health, HealthEvent } from "#agent/apiserver/health.ts";

const good: HealthEvent = { type: "probed", outcome: "ready" };
const bad: HealthEvent = { type: "probed", outcome: "notReady" };
const silent: HealthEvent = { type: "probed", outcome: "unreachable" };
const failed: HealthEvent = { type: "failed", mayEject: true };
const answered: HealthEvent = { type: "answered" };
const stopping: HealthEvent = { type: "stopping" };
const refused: HealthEvent = { type: "refused" };
const hungUp: HealthEvent = { type: "hungUp" };

/** The health after events that are a second apart, the first at 0. */
function after(events: readonly HealthEvent[], from: Health = unprovenHealth, startMs = 0): Health {
  return events.reduce((health, event, index) => nextHealth(health, event, startMs + index * 1000), from);
}

describe("a server's availability", () => {
  const cases: readonly (readonly [string, readonly HealthEvent[], boolean])[] = [
    ["before any probe", [], true],
    ["after one bad probe", [bad], true],
    ["after two bad probes", [bad, bad], false],
    ["after two silent probes", [silent, silent], false],
    ["after bad probes with a good one between", [bad, good, bad], true],
    ["after one good probe when it was out", [bad, bad, good], false],
    ["after two good probes when it was out", [bad, bad, good, good], true],
    ["after good probes with a bad one between when it was out", [bad, bad, good, bad, good], false],
    ["after two failed requests", [failed, failed], true],
    ["after three failed requests", [failed, failed, failed], false],
    ["after failed requests with an answered one between", [failed, failed, answered, failed], true],
    ["after failed requests that may not eject", Array.from({ length: 5 }, () => ({ type: "failed", mayEject: false }) as const), true],
    ["after it said that it is stopping", [good, stopping], false],
    ["after it said so and answered still", [good, stopping, answered], false],
    ["after it hung up on the probe", [good, hungUp], false],
    ["after it hung up and a probe was silent", [good, hungUp, silent], false],
    ["after it hung up and answered a request", [good, hungUp, answered], false],
    ["after it hung up and a probe was good", [good, hungUp, good], true],
    ["after it refused a connection", [good, refused], false],
    ["after one good probe since then", [good, refused, good], false],
    ["after two good probes since then", [good, refused, good, good], true],
  ];

  it.each(cases)("%s is as wanted", (_name, events, wanted) => {
    expect(isAvailable(after(events), events.length * 1000)).toBe(wanted);
  });

  it("is not lost to failures that are more than ten seconds apart", () => {
    const health = [0, 6000, 12_000].reduce((state, at) => nextHealth(state, failed, at), unprovenHealth);
    expect(isEjected(health, 12_001)).toBe(false);
  });
});

it("an ejection lasts 5 s, doubles to at most 60 s while failures go on, and is short again after quiet", () => {
  const lasts: number[] = [];
  let health = unprovenHealth;
  let nowMs = 0;
  for (let round = 0; round < 6; round += 1) {
    for (let failure = 0; failure < 3; failure += 1) health = nextHealth(health, failed, nowMs);
    lasts.push(health.ejectedUntilMs - nowMs);
    nowMs = health.ejectedUntilMs;
  }
  nowMs += 120_000;
  for (let failure = 0; failure < 3; failure += 1) health = nextHealth(health, failed, nowMs);
  lasts.push(health.ejectedUntilMs - nowMs);
  expect(lasts).toEqual([5000, 10_000, 20_000, 40_000, 60_000, 60_000, 5000]);
});

it("a server that comes back grows from a tenth of its share to all of it within a minute", () => {
  const health = after([bad, bad, good, good]);
  const backMs = 3000;
  expect([0, 30_000, 60_000, 90_000].map((ms) => share(health, backMs + ms))).toEqual([0.1, 0.55, 1, 1]);
});

it("a server that was never away has its whole share", () => {
  expect(share(after([good, good]), 1000)).toBe(1);
});
