/**
 * Whose traffic an address is, when two Services name the same one. kube-proxy leaves it to chance; here a cluster IP or node port, which
 * only the API server gives out, beats a load balancer's address, which a controller writes, and that beats an external IP, which anybody
 * who may write a Service can make up (CVE-2020-8554). Of equals the first name in the alphabet wins, so that all nodes agree.
 */
import type { ServiceProtocol } from "./dataplane.ts";

export type ClaimKind = "assigned" | "loadBalancer" | "external";

/** A Service port that wants the traffic to an address. */
export interface Claim {
  readonly kind: ClaimKind;
  /** `namespace/name`. */
  readonly service: string;
  readonly portName: string;
}

const rankOf = { assigned: 0, loadBalancer: 1, external: 2 } as const;

/** The claims of all Services to addresses and node ports, and who wins them. */
export class Claims {
  readonly #claims = new Map<string, readonly Claim[]>();

  add(frontend: string, claim: Claim): void {
    const others = this.#claims.get(frontend);
    this.#claims.set(frontend, others === undefined ? [claim] : [...others, claim].toSorted(compareClaims));
  }

  /** Takes back what a Service has claimed of a frontend. */
  remove(frontend: string, service: string): void {
    const left = this.#claims.get(frontend)?.filter((claim) => claim.service !== service) ?? [];
    if (left.length === 0) this.#claims.delete(frontend);
    else this.#claims.set(frontend, left);
  }

  winner(frontend: string): Claim | undefined {
    return this.#claims.get(frontend)?.[0];
  }

  /** The Services that claim a frontend. */
  claimants(frontend: string): readonly string[] {
    return this.#claims.get(frontend)?.map(({ service }) => service) ?? [];
  }
}

/** The name of a frontend; a node port has no address. */
export function frontendName(address: string, protocol: ServiceProtocol, port: number): string {
  return `${address} ${protocol} ${port}`;
}

function compareClaims(one: Claim, other: Claim): number {
  return rankOf[one.kind] - rankOf[other.kind] || compareText(one.service, other.service) || compareText(one.portName, other.portName);
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
