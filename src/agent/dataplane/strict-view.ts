/**
 * Strict mode: what anybody who may write a Service, its status or an EndpointSlice can make up is not believed. kube-proxy believes it:
 * an external IP takes traffic away from whoever has the address (CVE-2020-8554), and an endpoint sends it where the writer himself may not
 * (CVE-2021-25740). Addresses of nodes stay, because pods of the host's network and the apiservers have them.
 *
 * The planner sees the cluster through this view, and knows nothing of it.
 */
import { createAddressRanges } from "./ip-address.ts";
import type { AddressRanges } from "./ip-address.ts";
import { parseAddress } from "./address.ts";
import type { IpFamily } from "./dataplane.ts";
import type { ChangedServices } from "./node-plan.ts";
import type { ClusterObjects, EndpointSliceObject, ServiceObject } from "./objects.ts";
import { createOrdinaryAddress } from "./ordinary-address.ts";

export interface StrictOptions {
  /** CIDRs that load balancers' addresses come from; none is believed outside of them. */
  readonly loadBalancerRanges: readonly string[];
}

/** An address that a Service is said to have, and that is left out. */
export interface IgnoredAddress {
  readonly kind: "endpoint" | "load balancer IP" | "external IP";
  readonly address: string;
  readonly reason: string;
}

export interface StrictViewOptions extends StrictOptions {
  /** Told of a Service's left out addresses when they change; an empty list when there are none any more. */
  readonly onIgnored: (service: ServiceObject, ignored: readonly IgnoredAddress[]) => void;
}

/** What is left of a Service. */
interface Seen {
  readonly service: ServiceObject;
  readonly slices: ReadonlyMap<string, EndpointSliceObject>;
  readonly ignored: readonly IgnoredAddress[];
}

type RangesByFamily = Readonly<Record<IpFamily, AddressRanges>>;

export class StrictView {
  readonly #options: StrictViewOptions;
  readonly #isOrdinary = createOrdinaryAddress();
  readonly #balancers: RangesByFamily;
  readonly #services = new Map<string, ServiceObject>();
  readonly #slices = new Map<string, ReadonlyMap<string, EndpointSliceObject>>();
  readonly #ignored = new Map<string, readonly IgnoredAddress[]>();
  #cidrs: { readonly text: string; readonly ranges: RangesByFamily } | undefined;

  constructor(options: StrictViewOptions) {
    this.#options = options;
    this.#balancers = rangesOf(options.loadBalancerRanges);
  }

  /** The cluster without what is not believed, and what has changed in it. To be asked for every change, in order. */
  look(objects: ClusterObjects, changed: ChangedServices): { readonly objects: ClusterObjects; readonly changed: ChangedServices } {
    const text = objects.serviceCidrs.join(" ");
    const isNew = this.#cidrs?.text !== text;
    const cidrs = isNew || this.#cidrs === undefined ? { text, ranges: rangesOf(objects.serviceCidrs) } : this.#cidrs;
    this.#cidrs = cidrs;
    const all = isNew ? "all" : changed;
    const keys = all === "all" ? new Set([...objects.services.keys(), ...this.#services.keys()]) : all;
    for (const key of keys) this.#take(key, objects, cidrs.ranges);
    return { objects: { ...objects, services: this.#services, slices: this.#slices }, changed: all };
  }

  /** What is left out of a Service (`namespace/name`). */
  ignoredOf(key: string): readonly IgnoredAddress[] {
    return this.#ignored.get(key) ?? [];
  }

  #take(key: string, objects: ClusterObjects, cidrs: RangesByFamily): void {
    const service = objects.services.get(key);
    if (service === undefined) {
      for (const map of [this.#services, this.#slices, this.#ignored]) map.delete(key);
      return;
    }
    const seen = this.#see(service, objects.slices.get(key) ?? new Map<string, EndpointSliceObject>(), cidrs);
    this.#services.set(key, seen.service);
    this.#slices.set(key, seen.slices);
    const before = this.ignoredOf(key);
    if (seen.ignored.length === 0) this.#ignored.delete(key);
    else this.#ignored.set(key, seen.ignored);
    if (JSON.stringify(before) !== JSON.stringify(seen.ignored)) this.#options.onIgnored(service, seen.ignored);
  }

  #see(service: ServiceObject, slices: ReadonlyMap<string, EndpointSliceObject>, cidrs: RangesByFamily): Seen {
    const ignored = new Map<string, IgnoredAddress>();
    const admits = (kind: IgnoredAddress["kind"], address: string, reason: string | undefined): boolean => {
      if (reason !== undefined) ignored.set(`${kind} ${address}`, { kind, address, reason });
      return reason === undefined;
    };
    const seen = {
      ...service,
      externalIps: service.externalIps.filter((ip) => admits("external IP", ip, "anybody who may write a Service can name one")),
      // One whose mode is Proxy is not served here anyway.
      ingress: service.ingress.filter(({ ip, mode }) => mode === "Proxy" || admits("load balancer IP", ip, this.#faultOfBalancer(ip))),
    };
    const seenSlices = new Map(
      [...slices].map(([key, slice]) => {
        const fault = (address: string): string | undefined => this.#faultOfEndpoint(address, cidrs);
        const endpoints = slice.endpoints.filter(({ address }) => admits("endpoint", address, fault(address)));
        return [key, endpoints.length === slice.endpoints.length ? slice : { ...slice, endpoints }] as const;
      }),
    );
    const isWhole = seen.externalIps.length === service.externalIps.length && seen.ingress.length === service.ingress.length;
    return { service: isWhole ? service : seen, slices: seenSlices, ignored: [...ignored.values()] };
  }

  #faultOfBalancer(text: string): string | undefined {
    const address = parseAddress(text);
    if (address !== undefined && this.#balancers[address.family](address.text)) return undefined;
    return "it is in no range that load balancers have here";
  }

  #faultOfEndpoint(text: string, cidrs: RangesByFamily): string | undefined {
    const address = parseAddress(text);
    if (address === undefined || !this.#isOrdinary(address.text, address.family))
      return "it is a loopback, link-local, multicast or unspecified address";
    return cidrs[address.family](address.text) ? "it is in a range of cluster IPs" : undefined;
  }
}

function rangesOf(cidrs: readonly string[]): RangesByFamily {
  return { IPv4: createAddressRanges(cidrs, "IPv4"), IPv6: createAddressRanges(cidrs, "IPv6") };
}
