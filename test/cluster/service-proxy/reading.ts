/** A service proxy's reading of a test cluster, with the pool that the role uses. */
import { systemClock } from "#agent/clock.ts";
import { openApiservers } from "#agent/cluster-access.ts";
import type { ApiserverAccess } from "#agent/cluster-access.ts";
import { ServiceProxyReading } from "#agent/service-proxy-reading.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";

export interface TestReading {
  readonly reading: ServiceProxyReading;
  readonly access: ApiserverAccess;
  /** What could not be read, and that it can be again. */
  readonly troubles: string[];
  /** Resolves when the condition is true, looking again whenever something has changed. */
  until(condition: () => boolean): Promise<void>;
  stop(): Promise<void>;
}

export interface ReadingOptions {
  readonly node?: string;
  readonly proxyName?: string;
  /** Whose credential; the cluster's admin unless told. */
  readonly kubeconfig?: string;
}

/** Starts to read. */
export async function startReading(cluster: Cluster, options: ReadingOptions = {}): Promise<TestReading> {
  const connection = {
    kubeconfig: { path: options.kubeconfig ?? cluster.adminKubeconfig, context: undefined },
    apiservers: cluster.apiservers.map(({ url }) => url),
  };
  const access = await openApiservers(connection);
  const wakes = new Set<() => void>();
  const troubles: string[] = [];
  const reading = new ServiceProxyReading({
    access,
    node: options.node ?? "node-1",
    proxyName: options.proxyName,
    clock: systemClock,
    random: Math.random,
    onChange: () => {
      for (const wake of wakes) wake();
    },
    onTrouble: (resource, what) => {
      troubles.push(`${resource}: ${what ?? "reading"}`);
      for (const wake of wakes) wake();
    },
  });
  reading.start();
  return {
    reading,
    access,
    troubles,
    until: (condition) =>
      new Promise((resolve) => {
        const look = () => {
          if (!condition()) return;
          wakes.delete(look);
          resolve();
        };
        wakes.add(look);
        look();
      }),
    stop: async () => {
      await reading.stop();
      await access.close();
    },
  };
}
