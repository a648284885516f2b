/** The table as the kernel would have it after changes, and what its rules would make of a connection. */
import type { Endpoint, Outcome, ServicePort } from "#agent/dataplane/dataplane.ts";
import { endpointValue, frontendKey, nodePortKeyOf, priorityText } from "#agent/dataplane/nftables/elements.ts";
import type { ContainerName } from "#agent/dataplane/nftables/layout.ts";
import type { TableChanges } from "#agent/dataplane/nftables/mirror.ts";
import type { TableContents } from "#agent/dataplane/nftables/placement.ts";

export class TableModel {
  readonly #contents = new Map<ContainerName, Map<string, string>>();

  constructor(contents: TableContents = new Map()) {
    for (const [container, elements] of contents) this.#contents.set(container, new Map(elements));
  }

  get contents(): TableContents {
    return this.#contents;
  }

  /** Throws where the kernel would refuse: what is deleted must be there, and what is added must not. */
  apply(changes: TableChanges): void {
    for (const [container, elements] of changes) {
      const present = this.#contents.get(container) ?? new Map<string, string>();
      this.#contents.set(container, present);
      for (const [key, { before, after }] of elements) {
        if (present.get(key) !== before) throw new Error(`${container} has ${present.get(key)} at ${key}, not ${before}`);
        if (after === undefined) present.delete(key);
        else present.set(key, after);
      }
    }
  }

  /** What a connection to a port's addresses meets: to its cluster IP, from outside, and from this node's own pods. */
  outcomes(port: ServicePort): { readonly internal: string; readonly external: readonly string[]; readonly inside: readonly string[] } {
    const services = [...port.externalIps, ...port.loadBalancerIps].map((address) => ({
      key: frontendKey(port, address),
      node: "" as const,
    }));
    const nodePorts = port.nodePort === undefined ? [] : [{ key: nodePortKeyOf(port), node: "node" as const }];
    const all = [...services, ...nodePorts];
    return {
      internal: this.#follow(this.#at("services", frontendKey(port, port.clusterIp)), frontendKey(port, port.clusterIp), ""),
      external: all.map(({ key, node }) => this.#external(key, node, "local")),
      inside: all.map(({ key, node }) => this.#external(key, node, "inside")),
    };
  }

  #external(key: string, node: "" | "node", from: "local" | "inside"): string {
    const verdict = this.#at(node === "" ? "services" : "node-ports", key);
    if (verdict !== "goto service-local" && verdict !== "goto node-port-local") return this.#follow(verdict, key, node);
    const maps = { local: ["local-services", "local-node-ports"], inside: ["inside-services", "inside-node-ports"] } as const;
    return this.#follow(this.#at(maps[from][node === "" ? 0 : 1], key), key, node);
  }

  /** The chain's endpoints, all of which must be there; without a chain, what the filter says. */
  #follow(verdict: string | undefined, key: string, node: "" | "node"): string {
    if (verdict === undefined) {
      const refusal = this.#at(node === "" ? "refused-services" : "refused-node-ports", key);
      return refusal === "goto refuse" ? "reject" : (refusal ?? "nothing");
    }
    const [, treatment = "", count = "0"] = /^goto (?:sticky-)?([a-z-]+)-(\d+)$/.exec(verdict) ?? [];
    const isInside = treatment.endsWith("inside");
    const maps = isInside ? (["inside-endpoints", "inside-node-port-endpoints"] as const) : (["endpoints", "node-port-endpoints"] as const);
    const endpoints = Array.from({ length: Number(count) }, (_, index) =>
      this.#at(maps[node === "" ? 0 : 1], `${key} . ${priorityText(index)}`),
    );
    return endpoints
      .map((endpoint) => endpoint ?? "missing")
      .toSorted()
      .join(", ");
  }

  #at(container: ContainerName, key: string): string | undefined {
    return this.#contents.get(container)?.get(key);
  }
}

/** The same words for what was planned. */
export function told(outcome: Outcome): string {
  return outcome.type === "balance" ? toTexts(outcome.endpoints).join(", ") : outcome.type;
}

function toTexts(endpoints: readonly Endpoint[]): readonly string[] {
  return endpoints.map(endpointValue).toSorted();
}
