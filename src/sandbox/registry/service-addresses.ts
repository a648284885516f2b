/** Cluster IPs and node ports of Services: given out at creation, unique, and given back when the Service is gone. */
import { isObject, listAt, numberAt, textAt, withValue } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { failed, invalid, ok } from "#sandbox/server/status.ts";
import type { Outcome } from "#sandbox/server/status.ts";
import type { Store } from "#sandbox/store/store.ts";

const addressPattern = /^10\.96\.(\d{1,3})\.(\d{1,3})$/;
const nodePorts = { first: 30_000, last: 32_767 } as const;

/** Gives addresses by looking at which ones the stored Services have. */
export class ServiceAddresses {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The Service with a cluster IP and, for the types that have them, node ports. */
  assign(service: KubeObject): Outcome<KubeObject> {
    const type = textAt(service, "spec", "type");
    if (type === "ExternalName") return ok(service);
    const others = this.#store.list(resourceOf("Service")).filter((other) => other.metadata.uid !== service.metadata.uid);
    const addressed = assignAddress(service, others);
    if (addressed.type === "failure" || type === "ClusterIP") return addressed;
    const taken = new Set(others.flatMap((other) => listAt(other, "spec", "ports").map((port) => numberAt(port, "nodePort"))));
    const ports = listAt(service, "spec", "ports").map((port) => withNodePort(port, taken));
    return ok(withValue(addressed.value, ["spec", "ports"], ports));
  }
}

function assignAddress(service: KubeObject, others: readonly KubeObject[]): Outcome<KubeObject> {
  const wanted = textAt(service, "spec", "clusterIP");
  if (wanted === "None") return ok(withValue(service, ["spec", "clusterIPs"], ["None"]));
  const taken = new Set(others.map((other) => textAt(other, "spec", "clusterIP")));
  if (wanted !== "" && (taken.has(wanted) || !addressPattern.test(wanted))) {
    const message = `Invalid value: ${JSON.stringify(wanted)}: ${taken.has(wanted) ? "provided IP is already allocated" : "not in the valid range 10.96.0.0/16"}`;
    return failed(
      invalid("Service", { group: "", plural: "services", name: service.metadata.name }, [
        { field: "spec.clusterIPs", message, reason: "FieldValueInvalid" },
      ]),
    );
  }
  const address = wanted === "" ? freeAddress(taken) : wanted;
  return ok(withValue(withValue(service, ["spec", "clusterIP"], address), ["spec", "clusterIPs"], [address]));
}

function freeAddress(taken: ReadonlySet<string>): string {
  for (let number = 10; number < 65_535; number += 1) {
    const address = `10.96.${number >> 8}.${number & 255}`;
    if (!taken.has(address)) return address;
  }
  throw new Error("no cluster IP is free: the store holds more Services than its limit allows");
}

function withNodePort(port: Json, taken: Set<number | undefined>): Json {
  if (!isObject(port) || numberAt(port, "nodePort") !== undefined) return port;
  let candidate: number = nodePorts.first;
  while (taken.has(candidate) && candidate < nodePorts.last) candidate += 1;
  taken.add(candidate);
  return { ...port, nodePort: candidate };
}
