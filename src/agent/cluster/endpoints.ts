/** Where the cluster's apiservers are, for an agent inside: behind the Service default/kubernetes, whose endpoints the apiservers keep themselves. */
import { isIPv6 } from "node:net";
import { GatewayError } from "#core/errors.ts";
import type { Clock } from "#agent/clock.ts";
import { isObject, listField, objectField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ApiAnswer, ClusterApi } from "./api.ts";
import { endpointsIntervalMs, maxEndpoints } from "./limits.ts";

/** An apiserver's address. */
export interface ServerAddress {
  readonly url: string;
  readonly ca: string | undefined;
  readonly serverName: string | undefined;
  readonly lastResort?: boolean;
}

/** The name that every apiserver's certificate has for clients inside the cluster. */
export const inClusterServerName = "kubernetes.default.svc";

const target = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

/** The Service's own address, from the environment that every pod has; throws CONFIGURATION_INVALID outside a pod. */
export function inClusterServiceAddress(environment: Readonly<Record<string, string | undefined>>): ServerAddress {
  const host = environment["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  if (host === "" || !/^\d{1,5}$/.test(port)) {
    throw new GatewayError(
      "CONFIGURATION_INVALID",
      "KUBERNETES_SERVICE_HOST is not set: the agent is not in a pod. Give it --kubeconfig, or run it in the cluster",
    );
  }
  return { url: toUrl(host, port), ca: undefined, serverName: inClusterServerName };
}

/** Addresses that an admin gave, with the cluster's usual name to verify. */
export function explicitAddresses(urls: readonly string[], serverName: string | undefined): readonly ServerAddress[] {
  return urls.map((url) => ({ url, ca: undefined, serverName }));
}

/** The URLs of ready apiservers in a list of EndpointSlices (discovery.k8s.io/v1), sorted. */
export function parseApiserverSlices(list: JsonObject): readonly string[] {
  const urls = listField(list, "items").filter(isObject).flatMap(urlsOfSlice);
  return [...new Set(urls)].toSorted().slice(0, maxEndpoints);
}

export interface ApiserverDiscoveryOptions {
  readonly api: ClusterApi;
  /** The Service's address: the first way in, and the last resort. */
  readonly service: ServerAddress;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Told when the addresses have changed. */
  readonly onChange: (servers: readonly ServerAddress[]) => void;
  /** Told, in a sentence, when the cluster begins to refuse the list: the agent goes on, but with fewer ways in than it should have. */
  readonly onRefused: (what: string) => void;
}

/** Keeps the addresses up to date. A look that fails or finds nothing changes nothing: the way that is known may still work. */
export class ApiserverDiscovery {
  readonly #options: ApiserverDiscoveryOptions;
  #known = "";
  #cancel: () => void = () => undefined;
  #stopped = false;
  #isRefused = false;

  constructor(options: ApiserverDiscoveryOptions) {
    this.#options = options;
  }

  /** Looks once, and then again and again until `stop`. */
  async start(): Promise<void> {
    await this.#look();
    if (this.#stopped) return;
    const wait = endpointsIntervalMs * (0.8 + 0.4 * this.#options.random());
    this.#cancel = this.#options.clock.after(wait, () => void this.start());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #look(): Promise<void> {
    const answer = await this.#options.api.get(target).catch(() => undefined); // unreachable now: the next look tells
    if (answer === undefined || this.#stopped) return;
    this.#noteRefusal(answer);
    if (answer.type === "refused") return;
    const urls = parseApiserverSlices(answer.object);
    const found = urls.join(" ");
    if (urls.length === 0 || found === this.#known) return;
    this.#known = found;
    const servers = urls.map((url) => ({ url, ca: undefined, serverName: inClusterServerName }));
    const { service, onChange } = this.#options;
    onChange(urls.includes(service.url) ? servers : [...servers, { ...service, lastResort: true }]);
  }

  #noteRefusal(answer: ApiAnswer): void {
    const wasRefused = this.#isRefused;
    this.#isRefused = answer.type === "refused";
    if (answer.type === "object" || wasRefused) return;
    const right = "list endpointslices in the namespace default";
    this.#options.onRefused(`the agent cannot look up the apiservers (${answer.status} ${answer.reason}); its Role allows it to ${right}`);
  }
}

function urlsOfSlice(slice: JsonObject): readonly string[] {
  const ports = listField(slice, "ports").filter(isObject);
  const port = ports.find((candidate) => textField(candidate, "name") === "https")?.["port"];
  if (typeof port !== "number" || !["IPv4", "IPv6"].includes(textField(slice, "addressType"))) return [];
  return listField(slice, "endpoints")
    .filter(isObject)
    .filter((endpoint) => objectField(endpoint, "conditions")["ready"] !== false)
    .flatMap((endpoint) => textsField(endpoint, "addresses").map((address) => toUrl(address, String(port))));
}

function toUrl(host: string, port: string): string {
  return `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
