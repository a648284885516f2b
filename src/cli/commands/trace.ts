/** `sallyport trace service`: what a packet to a Service meets on a node. The agent knows it: this starts it for one answer. */
import { buildCommand, buildRouteMap } from "@stricli/core";
import type { CliContext } from "#cli/context.ts";
import { findKubeconfig } from "#cli/kubeconfig/file.ts";
import { toText } from "./flags.ts";

interface TraceFlags {
  readonly node?: string;
  readonly config?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly serviceProxyName?: string;
  readonly strict: boolean;
  readonly connections: boolean;
  readonly loadBalancerRange?: readonly string[];
}

const serviceCommand = buildCommand<TraceFlags, [string], CliContext>({
  func: traceService,
  parameters: {
    flags: {
      node: {
        kind: "parsed",
        parse: toText,
        brief: "The node whose view it is (this machine's name)",
        placeholder: "NAME",
        optional: true,
      },
      config: { kind: "parsed", parse: toText, brief: "The node's KubeProxyConfiguration", placeholder: "FILE", optional: true },
      kubeconfig: {
        kind: "parsed",
        parse: toText,
        brief: "Kubeconfig that reaches the cluster (KUBECONFIG, or ~/.kube/config)",
        placeholder: "FILE",
        optional: true,
      },
      context: { kind: "parsed", parse: toText, brief: "The kubeconfig's context", placeholder: "NAME", optional: true },
      serviceProxyName: {
        kind: "parsed",
        parse: toText,
        brief: "Services of this label service.kubernetes.io/service-proxy-name",
        placeholder: "NAME",
        optional: true,
      },
      strict: { kind: "boolean", brief: "The node is in strict mode", default: false },
      connections: { kind: "boolean", brief: "On the node and as root: count the connections that it has to each address", default: false },
      loadBalancerRange: {
        kind: "parsed",
        parse: toText,
        brief: "With --strict: where load balancers' addresses are; repeatable",
        placeholder: "CIDR",
        variadic: true,
        optional: true,
      },
    },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "The Service, with one of its ports or without", placeholder: "namespace/name[:port]", parse: toText }],
    },
  },
  docs: {
    brief: "Explain a Service: its addresses, policies, and why each endpoint is used or not",
    customUsage: ["shop/web --node NODE"],
  },
});

export const command = buildRouteMap<"service", CliContext>({
  routes: { service: serviceCommand },
  docs: { brief: "Explain what a packet to a Service meets on a node" },
});

async function traceService(this: CliContext, flags: TraceFlags, target: string): Promise<void> {
  const { node, config, context, serviceProxyName, strict, connections, loadBalancerRange = [] } = flags;
  const kubeconfig = flags.kubeconfig ?? (await findKubeconfig(this));
  const given = { node, config, kubeconfig, context, "service-proxy-name": serviceProxyName };
  const args = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]));
  const ranges = loadBalancerRange.map((range) => `--load-balancer-range=${range}`);
  const more = [...(connections ? ["--connections"] : []), ...(strict ? ["--strict"] : []), ...ranges];
  this.process.exitCode = await this.runAgent(["--roles=service-proxy", `--trace=${target}`, ...args, ...more]);
}
