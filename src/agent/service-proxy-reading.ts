/** What the role `service-proxy` reads of its cluster: four watches that fill one store. */
import { ClusterReading } from "./cluster-reading.ts";
import type { ClusterReadingOptions } from "./cluster-reading.ts";
import { watchedNode, watchedServiceCidrs, watchedServices, watchedSlices } from "./cluster/service-objects.ts";
import { ObjectStore } from "./service-proxy/object-store.ts";

export interface ServiceProxyReadingOptions extends ClusterReadingOptions {
  readonly node: string;
  readonly proxyName: string | undefined;
}

export class ServiceProxyReading extends ClusterReading {
  readonly store: ObjectStore;

  constructor(options: ServiceProxyReadingOptions) {
    const { node, proxyName } = options;
    super(options, `service-proxy ${node}`);
    const store = new ObjectStore(node);
    this.store = store;
    this.watch(watchedServices(proxyName), (changes) => store.applyServices(changes));
    this.watch(watchedSlices(proxyName), (changes) => store.applySlices(changes));
    this.watch(watchedNode(node), (changes) => store.applyNode(changes));
    this.watch(watchedServiceCidrs, (changes) => store.applyServiceCidrs(changes));
  }
}
