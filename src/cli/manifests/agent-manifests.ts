/**
 * What an admin applies to a cluster so that it joins the gateway: one YAML text, made from what the cluster was registered with.
 *
 * What must stay true: the agent gets the rights that it uses and no other, each with its reason beside it; nothing in the text is secret
 * (the agent makes the cluster's key pair inside the cluster); the same options give the same text, so that applying it again changes
 * nothing; and no value can end its place in the YAML, whatever it contains.
 */
import { type AgentManifestOptions, agentNamespace } from "./agent-options.ts";
import { renderRbac } from "./rbac.ts";
import { renderConfiguration, renderWorkload } from "./workload.ts";
import { literal } from "./yaml-text.ts";

/** Everything to apply, in the order in which it has to exist. */
export function renderAgentManifests(options: AgentManifestOptions): string {
  return [renderHead(options), namespaceManifest, renderRbac(options), renderConfiguration(options), renderWorkload(options)].join("---\n");
}

/** The rights alone, for admins who review or install them apart. */
export function renderAgentRbac(options: AgentManifestOptions): string {
  return renderRbac(options);
}

function renderHead({ cluster }: AgentManifestOptions): string {
  return `# Sallyport's agent for the cluster ${cluster}. It dials out to the gateway; nothing here opens a port.\n`;
}

const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ${literal(agentNamespace)}
  labels:
    # The agent meets the strictest profile of the Pod Security Standards, and nothing else belongs here.
    pod-security.kubernetes.io/enforce: restricted
`;
