/** The drivers that the role `load-balancer` can be given (`--driver`), one line for each. */
import type { LoadBalancerDriver } from "./driver.ts";
import { NodeIpDriver } from "./drivers/node-ip.ts";
import type { NodeIpOptions } from "./drivers/node-ip-options.ts";
import type { NodeReadiness } from "./nodes.ts";
import type { ServedClasses } from "./plan.ts";

/** A driver's name and options. */
export type DriverChoice = { readonly type: "node-ip" } & NodeIpOptions;

export interface DriverContext {
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
}

export interface ChosenDriver {
  readonly driver: LoadBalancerDriver;
  /** How often it may be called: in a second, and at once. */
  readonly perSecond: number;
  readonly burst: number;
}

/** What node-ip costs is a patch of the Service for each change: an apiserver takes hundreds in a second, of all its clients. */
const nodeIpRate = { perSecond: 50, burst: 100 };

export function createDriver(choice: DriverChoice, context: DriverContext): ChosenDriver {
  switch (choice.type) {
    case "node-ip":
      return { driver: new NodeIpDriver({ ...context, options: choice }), ...nodeIpRate };
  }
}
