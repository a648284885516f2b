/** What a userspace dataplane would do for a table, as text for people: `--dry-run`. */
import type { Outcome, ServicePort } from "#agent/dataplane/dataplane.ts";
import type { Frontend, FrontendKind, FrontendPlan } from "./frontends.ts";

const kinds: Readonly<Record<FrontendKind, string>> = {
  clusterIp: "cluster IP",
  loadBalancerIp: "load balancer IP",
  externalIp: "external IP",
  nodePort: "node port",
};

/** One line for each frontend, and one for each that cannot be served: `TCP 10.96.0.1:443 cluster IP of default/kubernetes:https: …`. */
export function describeFrontends({ frontends, refused }: FrontendPlan): string {
  const served = [...frontends.values()].map((frontend) => `${name(frontend)}: ${doing(frontend)}\n`);
  const unserved = refused.map(({ reason, ...frontend }) => `${name(frontend)}: not served, ${reason}\n`);
  return [...served, ...unserved].join("");
}

function name({ kind, address, port, servicePort }: Omit<Frontend, "key" | "protocol">): string {
  return `${servicePort.protocol} ${at(address, port)} ${kinds[kind]} of ${serviceText(servicePort)}`;
}

/** `namespace/name`, or `namespace/name:port` where the port has a name. */
export function serviceText({ namespace, name: service, portName }: ServicePort): string {
  return `${namespace}/${service}${portName === "" ? "" : `:${portName}`}`;
}

function doing({ kind, servicePort }: Frontend): string {
  const { internal, external, externalFromInside, sourceRanges, affinitySeconds } = servicePort;
  const affinity = affinitySeconds === undefined ? "" : `, each client to its own for ${affinitySeconds} s`;
  if (kind === "clusterIp") return `${outcome(internal)}${affinity}`;
  const ranges = kind === "loadBalancerIp" && sourceRanges !== undefined ? `, only from ${sourceRanges.join(", ") || "nowhere"}` : "";
  const [outside, inside] = [outcome(external), outcome(externalFromInside)];
  return `${outside === inside ? outside : `from outside ${outside}, from inside ${inside}`}${affinity}${ranges}`;
}

function outcome(meets: Outcome): string {
  switch (meets.type) {
    case "balance":
      return `to ${meets.endpoints.map(({ address, port }) => at(address, port)).join(" ")}`;
    case "drop":
      return "dropped";
    case "reject":
      return "refused";
  }
}

function at(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
