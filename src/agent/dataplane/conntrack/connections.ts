/** The connections that the kernel has to a Service's address, by the endpoint that they lead to: for `sallyport trace service`. */
import type { IpFamily, ServiceProtocol } from "#agent/dataplane/dataplane.ts";
import { isFlow, parseFlow, protocolNumbers } from "./entry.ts";
import { failure } from "./tool.ts";
import type { RunConntrack } from "./tool.ts";

/** Where connections go to: an address and port of a Service. */
export interface CountedAddress {
  readonly family: IpFamily;
  readonly protocol: ServiceProtocol;
  /** undefined: any address, of which only what was translated counts. */
  readonly address: string | undefined;
  readonly port: number;
}

export interface EndpointConnections {
  readonly address: string;
  readonly port: number;
  readonly connections: number;
}

export type ConnectionCount =
  /** The endpoint with most of them first. */
  { readonly type: "counted"; readonly endpoints: readonly EndpointConnections[] } | { readonly type: "failed"; readonly message: string };

/** Counts entries of the kernel's table, whatever their age: of UDP, flows that were heard of in the last minutes. */
export async function countConnections(run: RunConntrack, counted: CountedAddress): Promise<ConnectionCount> {
  const { family, protocol, address, port } = counted;
  const counts = new Map<string, EndpointConnections>();
  const filter = [...(address === undefined ? [] : ["--orig-dst", address]), "--orig-port-dst", String(port)];
  const common = ["-f", family === "IPv4" ? "ipv4" : "ipv6", "-p", protocol.toLowerCase(), "-w", "0", "-o", "xml"];
  const end = await run(["-L", ...common, ...filter], (line) => {
    const entry = isFlow(line) ? parseFlow(line, protocolNumbers[protocol]) : undefined;
    if (entry === undefined) return;
    const { destination, destinationPort, replySource, replySourcePort } = entry;
    if (address === undefined && destination === replySource && destinationPort === replySourcePort) return;
    const key = `${replySource} ${replySourcePort}`;
    counts.set(key, { address: replySource, port: replySourcePort, connections: (counts.get(key)?.connections ?? 0) + 1 });
  });
  if (end.type !== "ended" || end.code !== 0) return { type: "failed", message: failure("list connections", end) };
  return { type: "counted", endpoints: [...counts.values()].toSorted((one, other) => other.connections - one.connections) };
}
