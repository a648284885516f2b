/** What the role `load-balancer` reads of its cluster: three watches. */
import { ClusterReading } from "./cluster-reading.ts";
import type { ClusterReadingOptions } from "./cluster-reading.ts";
import { watchedLoadBalancerServices, watchedNodes, watchedReadyEndpoints } from "./cluster/load-balancer-objects.ts";
import type { LoadBalancerController } from "./load-balancer/controller.ts";
import { conditionType } from "./load-balancer/status.ts";

export interface LoadBalancerReadingOptions extends ClusterReadingOptions {
  /** The finalizer that makes a Service ours. */
  readonly finalizer: string;
  readonly identity: string;
  readonly takers: Pick<LoadBalancerController, "takeServices" | "takeNodes" | "takeSlices">;
}

export class LoadBalancerReading extends ClusterReading {
  constructor(options: LoadBalancerReadingOptions) {
    const { takers, identity, finalizer } = options;
    super(options, `load-balancer ${identity}`);
    this.watch(watchedLoadBalancerServices(finalizer, conditionType), (changes) => takers.takeServices(changes));
    this.watch(watchedNodes, (changes) => takers.takeNodes(changes));
    this.watch(watchedReadyEndpoints, (changes) => takers.takeSlices(changes));
  }
}
