/** The three cells of a pod's row that need thought (printPod in kubernetes, pkg/printers/internalversion/printers.go). */
import { listAt, numberAt, objectAt, textAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import { isTerminating } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { ageSince } from "./age.ts";

/** READY: ready containers of all, such as 1/2. */
export function podReady(pod: KubeObject): string {
  const ready = listAt(pod, "status", "containerStatuses").filter((status) => valueAt(status, "ready") === true);
  return `${ready.length}/${listAt(pod, "spec", "containers").length}`;
}

/** STATUS: the phase, or the reason why a container waits or ended. */
export function podStatus(pod: KubeObject): string {
  if (isTerminating(pod)) return "Terminating";
  const statuses = listAt(pod, "status", "containerStatuses");
  const reasons = statuses.map(containerReason).filter((reason) => reason !== "");
  const reason = reasons[0] ?? (textAt(pod, "status", "reason") || textAt(pod, "status", "phase"));
  const isRunning = statuses.some((status) => valueAt(status, "ready") === true);
  return reason === "Completed" && isRunning ? "Running" : reason;
}

/** RESTARTS: how often, and when last. */
export function podRestarts(pod: KubeObject, nowMs: number): string {
  const statuses = listAt(pod, "status", "containerStatuses");
  const restarts = statuses.reduce<number>((sum, status) => sum + (numberAt(status, "restartCount") ?? 0), 0);
  const ends = statuses.map((status) => textAt(status, "lastState", "terminated", "finishedAt")).filter((time) => time !== "");
  const last = ends.toSorted().at(-1);
  return restarts > 0 && last !== undefined ? `${restarts} (${ageSince(last, nowMs)} ago)` : String(restarts);
}

function containerReason(status: Json): string {
  const waiting = textAt(status, "state", "waiting", "reason");
  if (waiting !== "") return waiting;
  const terminated = objectAt(status, "state", "terminated");
  if (Object.keys(terminated).length === 0) return "";
  return textAt(terminated, "reason") || `ExitCode:${numberAt(terminated, "exitCode") ?? 0}`;
}
