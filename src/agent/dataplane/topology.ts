/** Whether a Service's traffic stays near, from the hints of its EndpointSlices alone (KEP-2433, KEP-3015). */
import type { Endpoint } from "./dataplane.ts";
import type { NodeObject } from "./objects.ts";

/** An endpoint with its hints; undefined or empty: it has none of that kind. */
export interface HintedEndpoint {
  readonly endpoint: Endpoint;
  readonly ready: boolean;
  readonly forZones: readonly string[] | undefined;
  readonly forNodes: readonly string[] | undefined;
}

/** Where the Cluster list is narrowed to, and why not further. */
export interface TopologyDecision {
  readonly scope: "node" | "zone" | "everywhere";
  /** Why the hints for the same node, and then for the same zone, were ignored. */
  readonly ignored: readonly HintsIgnored[];
}

export interface HintsIgnored {
  readonly kind: "forNodes" | "forZones";
  readonly reason:
    | "no ready endpoint"
    | "an endpoint without hints"
    | "no endpoint for this node"
    | "no endpoint for this zone"
    | "node without a zone";
  /** The ready endpoints without hints, as `address:port`. */
  readonly endpoints: readonly string[];
}

/** Hints count only if every ready endpoint has them, and one of them means this node: a part of the endpoints could be overwhelmed. */
export function decideTopology(states: readonly HintedEndpoint[], node: NodeObject): TopologyDecision {
  const ready = states.filter((state) => state.ready);
  const forNodes = judgeHints(ready, "forNodes", node.name);
  if (forNodes === undefined) return { scope: "node", ignored: [] };
  const forZones = judgeHints(ready, "forZones", node.zone);
  if (forZones === undefined) return { scope: "zone", ignored: [forNodes] };
  return { scope: "everywhere", ignored: [forNodes, forZones] };
}

/** Whether a ready endpoint is within the decided scope. */
export function isNear(state: HintedEndpoint, { scope }: TopologyDecision, node: NodeObject): boolean {
  switch (scope) {
    case "everywhere":
      return true;
    case "node":
      return state.forNodes?.includes(node.name) === true;
    case "zone":
      return node.zone !== undefined && state.forZones?.includes(node.zone) === true;
  }
}

/** Why hints of one kind are ignored; undefined if they count. */
function judgeHints(ready: readonly HintedEndpoint[], kind: HintsIgnored["kind"], here: string | undefined): HintsIgnored | undefined {
  if (ready.length === 0) return { kind, reason: "no ready endpoint", endpoints: [] };
  const without = ready.filter((state) => (state[kind]?.length ?? 0) === 0);
  if (without.length > 0) return { kind, reason: "an endpoint without hints", endpoints: without.map(({ endpoint }) => toText(endpoint)) };
  if (here === undefined || here === "") return { kind, reason: "node without a zone", endpoints: [] };
  if (ready.some((state) => state[kind]?.includes(here))) return undefined;
  return { kind, reason: kind === "forNodes" ? "no endpoint for this node" : "no endpoint for this zone", endpoints: [] };
}

function toText({ address, port }: Endpoint): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
