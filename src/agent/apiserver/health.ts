/**
 * What is known of one apiserver's health: a pure machine, events in and a new state out.
 *
 * Probes of /readyz decide; requests can only take a server out for a while. /readyz fails the moment a server is told to stop,
 * long before its connections do, which is what lets a rolling restart pass without a lost request.
 */
import {
  ejectionMs,
  maxEjectionMs,
  passiveFailures,
  passiveWindowMs,
  probesToFall,
  probesToRise,
  slowStartMs,
  slowStartShare,
} from "./limits.ts";

export interface Health {
  /** What probes say; unproven servers are used, because the first request cannot wait for the first probe. */
  readonly probed: "unproven" | "ready" | "notReady";
  /** Probes in a row that say the contrary. */
  readonly contrary: number;
  /** Whether it has hung up on the probe and no probe was good since then. */
  readonly suspect: boolean;
  /** When it came back, for slow start; undefined when it was never away. */
  readonly backSinceMs: number | undefined;
  /** Times of the last failed requests in a row. */
  readonly failedAtMs: readonly number[];
  readonly ejectedUntilMs: number;
  /** How long the last ejection was. */
  readonly ejectedForMs: number;
  readonly lastAnswerMs: number | undefined;
}

export type HealthEvent =
  | { readonly type: "probed"; readonly outcome: "ready" | "notReady" | "unreachable" }
  /** A request could not be sent, was lost, or was answered with a 5xx that no apiserver writes. */
  | { readonly type: "failed"; readonly mayEject: boolean }
  /** A request was answered. */
  | { readonly type: "answered" }
  /** It refused a request because it is stopping. */
  | { readonly type: "stopping" }
  /**
   * Nothing listens at its address. No client can cause that and it is no chance: the server has ended. When it listens again it is
   * starting, and a kube-apiserver that starts answers 403 before it has read RBAC; so it stays out until its probes are good.
   */
  | { readonly type: "refused" }
  /**
   * It ended the connection that waits between probes, which a server that goes on does not do. Another process may listen at its address
   * already, and take connections long before it serves.
   */
  | { readonly type: "hungUp" };

export const unprovenHealth: Health = {
  probed: "unproven",
  contrary: 0,
  suspect: false,
  backSinceMs: undefined,
  failedAtMs: [],
  ejectedUntilMs: 0,
  ejectedForMs: 0,
  lastAnswerMs: undefined,
};

/** The health after an event. */
export function nextHealth(health: Health, event: HealthEvent, nowMs: number): Health {
  switch (event.type) {
    case "probed":
      return afterProbe(event.outcome === "unreachable" ? health : { ...health, lastAnswerMs: nowMs }, event.outcome === "ready", nowMs);
    case "failed":
      return afterFailure(health, event.mayEject, nowMs);
    case "answered":
      return { ...health, failedAtMs: [], lastAnswerMs: nowMs };
    case "stopping":
      return { ...health, probed: "notReady", contrary: 0, lastAnswerMs: nowMs };
    case "refused":
      return { ...health, probed: "notReady", contrary: 0 };
    case "hungUp":
      return { ...health, suspect: true };
  }
}

/** Whether requests go to it while others are there. */
export function isAvailable(health: Health, nowMs: number): boolean {
  return health.probed !== "notReady" && !health.suspect && nowMs >= health.ejectedUntilMs;
}

/** Whether failed requests, not probes, keep it out. */
export function isEjected(health: Health, nowMs: number): boolean {
  return nowMs < health.ejectedUntilMs;
}

/** Its part of a full share, which grows after it came back. */
export function share(health: Health, nowMs: number): number {
  if (health.backSinceMs === undefined) return 1;
  const grown = (nowMs - health.backSinceMs) / slowStartMs;
  return Math.min(1, slowStartShare + (1 - slowStartShare) * Math.max(0, grown));
}

function afterProbe(before: Health, good: boolean, nowMs: number): Health {
  const health = good ? { ...before, suspect: false } : before;
  const agrees = good === (health.probed !== "notReady");
  if (agrees) return { ...health, probed: good ? "ready" : "notReady", contrary: 0 };
  const contrary = health.contrary + 1;
  if (contrary < (good ? probesToRise : probesToFall)) return { ...health, contrary };
  if (!good) return { ...health, probed: "notReady", contrary: 0 };
  return { ...health, probed: "ready", contrary: 0, backSinceMs: nowMs, failedAtMs: [], ejectedUntilMs: 0 };
}

function afterFailure(health: Health, mayEject: boolean, nowMs: number): Health {
  const failedAtMs = [...health.failedAtMs.filter((at) => nowMs - at <= passiveWindowMs), nowMs].slice(-passiveFailures);
  if (failedAtMs.length < passiveFailures || !mayEject) return { ...health, failedAtMs };
  const recent = nowMs - health.ejectedUntilMs <= maxEjectionMs && health.ejectedForMs > 0;
  const ejectedForMs = recent ? Math.min(maxEjectionMs, health.ejectedForMs * 2) : ejectionMs;
  return { ...health, failedAtMs: [], ejectedUntilMs: nowMs + ejectedForMs, ejectedForMs };
}
