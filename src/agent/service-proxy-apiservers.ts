/** The apiservers that stand behind the Service default/kubernetes: an admin names one to begin with, and the others are found. */
import { isIPv6 } from "node:net";
import { inClusterServerName } from "./cluster/endpoints.ts";
import type { ServerAddress } from "./cluster/endpoints.ts";
import { maxEndpoints } from "./cluster/limits.ts";
import type { EndpointSliceObject } from "./dataplane/objects.ts";

/** The Service, `namespace/name`. */
export const apiserverService = "default/kubernetes";

export class ApiserverFollower {
  readonly #configured: readonly ServerAddress[];
  readonly #onChange: (servers: readonly ServerAddress[]) => void;
  #known = "";

  /** `configured` are the first way in, and then the last resort. */
  constructor(configured: readonly ServerAddress[], onChange: (servers: readonly ServerAddress[]) => void) {
    this.#configured = configured;
    this.#onChange = onChange;
  }

  /** Takes the Service's EndpointSlices as they are now; none change nothing, because the way that is known may still work. */
  follow(slices: ReadonlyMap<string, EndpointSliceObject> | undefined): void {
    const urls = [...new Set([...(slices?.values() ?? [])].flatMap(urlsOf))].toSorted().slice(0, maxEndpoints);
    const found = urls.join(" ");
    if (urls.length === 0 || found === this.#known) return;
    this.#known = found;
    const isFound = ({ url }: ServerAddress) => urls.includes(url);
    const others = this.#configured.filter((server) => !isFound(server)).map((server) => ({ ...server, lastResort: true }));
    this.#onChange([...urls.map((url) => ({ url, ca: undefined, serverName: inClusterServerName })), ...others]);
  }
}

function urlsOf({ endpoints, ports }: EndpointSliceObject): readonly string[] {
  const port = ports.find(({ name }) => name === "https")?.port;
  if (port === undefined) return [];
  return endpoints.filter(({ ready }) => ready).map(({ address }) => `https://${isIPv6(address) ? `[${address}]` : address}:${port}`);
}
