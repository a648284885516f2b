/** Conntrack reconciliation of both families, as a sync loop calls it after each table that was applied. */
import type { IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { ConntrackReconciler, type ReconcileOutcome, type ReconcilerOptions } from "./reconciler.ts";

export interface FlowOptions extends Omit<ReconcilerOptions, "onPeriodic"> {
  /** Told of each run by the clock. */
  readonly onPeriodic: (family: IpFamily, outcome: ReconcileOutcome) => void;
}

export class ConntrackFlows {
  readonly #families: Readonly<Record<IpFamily, ConntrackReconciler>>;

  constructor(options: FlowOptions) {
    const create = (family: IpFamily): ConntrackReconciler =>
      new ConntrackReconciler({ ...options, onPeriodic: (outcome) => options.onPeriodic(family, outcome) });
    this.#families = { IPv4: create("IPv4"), IPv6: create("IPv6") };
  }

  /** How many entries were deleted. Rejects with what went wrong; what could be done is done then too. */
  async reconcile(table: ServiceTable): Promise<number> {
    const outcome = await this.#families[table.family].afterApply(table);
    switch (outcome.type) {
      case "unchanged":
        return 0;
      case "reconciled":
        return outcome.deleted;
      case "failed":
        throw new Error(outcome.message);
    }
  }

  /** Waits for runs that go on, and starts no others. */
  async stop(): Promise<void> {
    await Promise.all(Object.values(this.#families).map((family) => family.stop()));
  }
}
