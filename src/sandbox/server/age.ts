/** Ages and durations as kubectl writes them. */
import { textAt } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";

/** The age of an object as kubectl writes it; `<unknown>` without a time. */
export function ageSince(time: string, nowMs: number): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? "<unknown>" : humanDuration(nowMs - then);
}

/** The age of an object since its creation. */
export function ageOf(object: KubeObject, nowMs: number): string {
  return ageSince(textAt(object, "metadata", "creationTimestamp"), nowMs);
}

/** A duration in one or two units: 45s, 5m3s, 12m, 3h5m, 2d (apimachinery, util/duration HumanDuration). */
export function humanDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return twoUnits(minutes, "m", { value: seconds % 60, unit: "s" });
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return twoUnits(hours, "h", { value: minutes % 60, unit: "m" });
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return twoUnits(days, "d", { value: hours % 24, unit: "h" });
  return `${days}d`;
}

function twoUnits(value: number, unit: string, rest: { readonly value: number; readonly unit: string }): string {
  return rest.value === 0 ? `${value}${unit}` : `${value}${unit}${rest.value}${rest.unit}`;
}
