/** The role `load-balancer` as a process: run, or show what it would do. */
import { GatewayError } from "#core/errors.ts";
import { openApiservers } from "./cluster-access.ts";
import { readClusterId } from "./cluster/service-status.ts";
import { systemClock } from "./clock.ts";
import type { LoadBalancerConfig } from "./config/load-balancer-config.ts";
import { LoadBalancerRole } from "./load-balancer-role.ts";
import type { RoleHost, RunningRole } from "./service-proxy-run.ts";
import { listenHttp } from "./service-proxy/http-listener.ts";

/** Starts; rejects with a GatewayError when the cluster cannot be asked who it is. */
export async function runLoadBalancer(config: LoadBalancerConfig, host: RoleHost): Promise<RunningRole> {
  const access = await openApiservers(config.connection);
  const cluster = await readClusterId(access.api);
  if (cluster.id === undefined)
    throw new GatewayError("AGENT_CREDENTIAL", `the namespace kube-system cannot be read (${cluster.reason}): it names the cluster`);
  const role = new LoadBalancerRole(config, access, {
    clusterId: cluster.id,
    clock: systemClock,
    random: Math.random,
    listen: listenHttp,
    log: host.log,
    onFatal: (reason) => host.end(1, reason),
  });
  switch (config.action) {
    case "run":
      await role.start();
      break;
    case "plan":
      void role.describe().then(
        (text) => {
          host.print(`${text}\n`);
          host.end(0, "everything is said");
        },
        (thrown: unknown) => host.end(1, thrown instanceof Error ? thrown.message : "an unknown failure"),
      );
      break;
  }
  return {
    stop: async () => {
      await role.stop();
      await access.close();
    },
  };
}
