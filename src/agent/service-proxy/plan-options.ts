/** What a plan needs of this machine and of its Node, beside the cluster's objects. */
import { BlockList, isIPv6 } from "node:net";
import type { IpFamily, LocalDetection, NodePortAddresses } from "#agent/dataplane/dataplane.ts";
import type { PlanOptions } from "#agent/dataplane/node-plan.ts";
import type { NodeObject } from "#agent/dataplane/objects.ts";
import { familyOf } from "./address-text.ts";
import type { KubeProxyConfiguration, LocalTraffic, NodePortSetting } from "./kube-proxy-configuration.ts";

export interface PlanSettings {
  readonly configuration: KubeProxyConfiguration;
  readonly externalIps: "serve" | "ignore";
}

/** The options as they are now. `machine`: the addresses of this machine's interfaces. */
export function resolvePlanOptions(
  { configuration, externalIps }: PlanSettings,
  node: NodeObject,
  machine: readonly string[],
): PlanOptions {
  const nodeIps = configuration.nodeAddress === undefined ? node.internalIps : [configuration.nodeAddress, ...node.internalIps];
  const at = (family: IpFamily) => resolveNodePorts(configuration.nodePorts, ofFamily(nodeIps, family), ofFamily(machine, family), family);
  return {
    externalIps,
    nodePortAddresses: { IPv4: at("IPv4"), IPv6: at("IPv6") },
    localDetection: resolveLocalTraffic(configuration.localTraffic, node),
    masqueradeAll: configuration.masqueradeAll,
  };
}

/**
 * Where a family's node ports are served. As in kube-proxy a family without a range, or without a node address where the primary one is
 * asked for, has them at all addresses: `primary` of an IPv4 node says nothing about IPv6.
 */
function resolveNodePorts(
  setting: NodePortSetting,
  nodeIps: readonly string[],
  machine: readonly string[],
  family: IpFamily,
): NodePortAddresses {
  switch (setting.type) {
    case "all":
      return { type: "all" };
    case "primary": {
      const [primary] = nodeIps;
      return primary === undefined ? { type: "all" } : { type: "only", addresses: [primary] };
    }
    case "cidrs": {
      const cidrs = ofFamily(setting.cidrs, family);
      if (cidrs.length === 0 || cidrs.some((cidr) => cidr.endsWith("/0"))) return { type: "all" };
      return { type: "only", addresses: machine.filter(within(cidrs)).toSorted() };
    }
  }
}

function resolveLocalTraffic(setting: LocalTraffic, node: NodeObject): LocalDetection {
  return setting.type === "nodeCidrs" ? { type: "cidrs", cidrs: node.podCidrs } : setting;
}

function ofFamily(texts: readonly string[], family: IpFamily): readonly string[] {
  return texts.filter((text) => familyOf(text) === family);
}

function within(cidrs: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [network = "", prefix = ""] = cidr.split("/");
    list.addSubnet(network, Number(prefix), isIPv6(network) ? "ipv6" : "ipv4");
  }
  return (address) => list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
