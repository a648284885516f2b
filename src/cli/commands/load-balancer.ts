/** `sallyport load-balancer plan`: what the role load-balancer would do now. The agent knows it: this starts it for one answer. */
import { buildCommand, buildRouteMap } from "@stricli/core";
import type { CliContext } from "#cli/context.ts";
import { findKubeconfig } from "#cli/kubeconfig/file.ts";
import { toText } from "./flags.ts";

interface PlanFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly driver?: string;
  readonly class?: string;
  readonly defaultClass: boolean;
  readonly nodeReadiness?: string;
  readonly nodeSelector?: string;
  readonly nodeAddresses?: string;
  readonly reservedPorts?: string;
}

const text = (brief: string, placeholder: string) => ({ kind: "parsed", parse: toText, brief, placeholder, optional: true }) as const;

const planCommand = buildCommand<PlanFlags, [], CliContext>({
  func: plan,
  parameters: {
    flags: {
      kubeconfig: text("Kubeconfig that reaches the cluster (KUBECONFIG, or ~/.kube/config)", "FILE"),
      context: text("The kubeconfig's context", "NAME"),
      driver: text("The role's driver (node-ip)", "NAME"),
      class: text("The class that the role serves (sallyport.dev/node-ip)", "NAME"),
      defaultClass: { kind: "boolean", brief: "The role serves Services without a class too", default: false },
      nodeReadiness: text("require or ignore", "KIND"),
      nodeSelector: text("Labels of the nodes that Services may get", "SELECTOR"),
      nodeAddresses: text("external-first, internal or all", "KIND"),
      reservedPorts: text("Ports that no Service gets", "LIST"),
    },
  },
  docs: {
    brief: "Show what every Service would get, why others wait, and orphans; changes nothing",
    customUsage: ["", "--default-class"],
  },
});

export const command = buildRouteMap<"plan", CliContext>({
  routes: { plan: planCommand },
  docs: { brief: "Show what the role load-balancer would do" },
});

async function plan(this: CliContext, flags: PlanFlags): Promise<void> {
  const given = {
    kubeconfig: flags.kubeconfig ?? (await findKubeconfig(this)),
    context: flags.context,
    driver: flags.driver,
    class: flags.class,
    "node-readiness": flags.nodeReadiness,
    "node-selector": flags.nodeSelector,
    "node-addresses": flags.nodeAddresses,
    "reserved-ports": flags.reservedPorts,
  };
  const args = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]));
  const more = flags.defaultClass ? ["--default-class"] : [];
  this.process.exitCode = await this.runAgent(["--roles=load-balancer", "--dry-run", ...args, ...more]);
}
