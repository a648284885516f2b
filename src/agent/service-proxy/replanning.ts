/** A planner whose options follow the machine and its Node: when they change, a new planner plans everything. */
import { isDeepStrictEqual } from "node:util";
import type { ClusterObjects } from "#agent/dataplane/objects.ts";
import { resolvePlanOptions } from "./plan-options.ts";
import type { PlanSettings } from "./plan-options.ts";
import type { Planner } from "./sync-loop.ts";
import type { ChangedServices, Plan, PlanOptions } from "#agent/dataplane/node-plan.ts";

/** The cluster as this node sees it, where it does not believe everything. */
export interface ObjectView {
  look(objects: ClusterObjects, changed: ChangedServices): { readonly objects: ClusterObjects; readonly changed: ChangedServices };
}

export interface FollowingPlannerOptions {
  readonly settings: PlanSettings;
  /** undefined: everything is believed, as by kube-proxy. */
  readonly view: ObjectView | undefined;
  readonly createPlanner: (options: PlanOptions) => Planner;
  /** The addresses of this machine's interfaces, as they are now. */
  readonly machineAddresses: () => readonly string[];
}

export class FollowingPlanner implements Planner {
  readonly #options: FollowingPlannerOptions;
  #current: { readonly options: PlanOptions; readonly planner: Planner } | undefined;

  constructor(options: FollowingPlannerOptions) {
    this.#options = options;
  }

  /** What was planned with last; undefined before the first plan. */
  get planOptions(): PlanOptions | undefined {
    return this.#current?.options;
  }

  plan(given: ClusterObjects, givenChanges: ChangedServices): Plan {
    const { settings, view, createPlanner, machineAddresses } = this.#options;
    const { objects, changed } = view?.look(given, givenChanges) ?? { objects: given, changed: givenChanges };
    const options = resolvePlanOptions(settings, objects.node, machineAddresses());
    if (this.#current !== undefined && isDeepStrictEqual(this.#current.options, options))
      return this.#current.planner.plan(objects, changed);
    this.#current = { options, planner: createPlanner(options) };
    return this.#current.planner.plan(objects, "all");
  }
}
