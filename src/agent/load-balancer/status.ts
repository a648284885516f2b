/** What is written to a Service: finalizers, addresses and our condition, as strategic merge patches; nothing when nothing differs. */
import { isDeepStrictEqual } from "node:util";
import type { JsonObject } from "#core/json-fields.ts";
import { maxConditionMessage } from "./limits.ts";
import type { Condition, Ingress, LoadBalancerService } from "./objects.ts";
import { cleanupFinalizer } from "./plan.ts";

/** Says in words how a Service's load balancer is, and why it is pending. */
export const conditionType = "sallyport.dev/LoadBalancerReady";

export type ConditionText = Pick<Condition, "status" | "reason" | "message">;

export interface WantedStatus {
  /** undefined: as it is. */
  readonly ingress: readonly Ingress[] | undefined;
  /** undefined: none. */
  readonly condition: ConditionText | undefined;
}

/** Puts the common finalizer and our own on a Service. */
export function planFinalizers(service: LoadBalancerService, own: string): JsonObject | undefined {
  const missing = [cleanupFinalizer, own].filter((finalizer) => !service.finalizers.includes(finalizer));
  return missing.length === 0 ? undefined : { metadata: { finalizers: missing } };
}

/** Takes them from a Service. */
export function planFinalizerRemoval(service: LoadBalancerService, own: string): JsonObject | undefined {
  const present = [cleanupFinalizer, own].filter((finalizer) => service.finalizers.includes(finalizer));
  return present.length === 0 ? undefined : { metadata: { "$deleteFromPrimitiveList/finalizers": present } };
}

/** Whether a Service that is being deleted goes with them. */
export function goesWithFinalizers(service: LoadBalancerService, own: string): boolean {
  return service.isDeleting && service.finalizers.every((finalizer) => finalizer === cleanupFinalizer || finalizer === own);
}

/** Whether a Service's status is what was to be written. */
export function hasStatus({ status }: LoadBalancerService, { ingress = status.ingress, condition }: WantedStatus): boolean {
  return isDeepStrictEqual(ingress, status.ingress) && Object.keys(planCondition(status.condition, condition, "")).length === 0;
}

/** Writes a status; `now` is RFC 3339. */
export function planStatus({ status }: LoadBalancerService, wanted: WantedStatus, now: string): JsonObject | undefined {
  const ingress = wanted.ingress ?? status.ingress;
  const loadBalancer = isDeepStrictEqual(ingress, status.ingress)
    ? {}
    : { loadBalancer: { ingress: ingress.length === 0 ? null : ingress } };
  const patch = { ...loadBalancer, ...planCondition(status.condition, wanted.condition, now) };
  return Object.keys(patch).length === 0 ? undefined : { status: patch };
}

function planCondition(current: Condition | undefined, wanted: ConditionText | undefined, now: string): JsonObject {
  if (wanted === undefined) return current === undefined ? {} : { conditions: [{ $patch: "delete", type: conditionType }] };
  const message = wanted.message.slice(0, maxConditionMessage);
  const isSame = current?.status === wanted.status && current.reason === wanted.reason && current.message === message;
  if (isSame) return {};
  const lastTransitionTime = current?.status === wanted.status ? current.lastTransitionTime : now;
  return { conditions: [{ type: conditionType, status: wanted.status, reason: wanted.reason, message, lastTransitionTime }] };
}
