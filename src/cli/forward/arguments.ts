/** The grammar of `sallyport forward TARGET [LOCAL:]REMOTE[/udp] …`, which is kubectl's with protocols and nodes. */
import { isObjectName, parsePortChoice } from "#core/kube/forward-target.ts";
import type { ForwardTarget, PortChoice, TransportProtocol } from "#core/kube/forward-target.ts";
import { usageError } from "#cli/output/failure.ts";

/** What the first argument names. */
export interface ObjectChoice {
  readonly type: ForwardTarget["type"];
  readonly name: string;
}

/** A port to listen at, and the one that it leads to. */
export interface PortMapping {
  /** 0 for a free one; undefined for the remote one's number. */
  readonly localPort: number | undefined;
  readonly remote: PortChoice;
  readonly protocol: TransportProtocol;
}

/** kubectl's names of the kinds, plain, plural, short and with their group. */
const kinds: ReadonlyMap<string, ForwardTarget["type"]> = new Map([
  ...["pod", "pods", "po"].map((word) => [word, "pod"] as const),
  ...["service", "services", "svc"].map((word) => [word, "service"] as const),
  ...["deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"].map((word) => [word, "deployment"] as const),
  ...["node", "nodes", "no"].map((word) => [word, "node"] as const),
]);

/** `svc/dns`, `pod/x`, `deployment/web`, `node/n1`; a name alone is a pod's. @throws CommandError USAGE */
export function parseObjectChoice(text: string): ObjectChoice {
  const slash = text.indexOf("/");
  const type = slash === -1 ? "pod" : kinds.get(text.slice(0, slash).toLowerCase());
  const name = text.slice(slash + 1);
  if (type === undefined) throw usageError(`${text}: a forward reaches pod/NAME, svc/NAME, deployment/NAME or node/NAME`);
  if (!isObjectName(name)) throw usageError(`${text}: "${name}" is no name of a Kubernetes object`);
  return { type, name };
}

/** `5353:53/udp`, `8080:80`, `:http`, `0:80`, `80`. @throws CommandError USAGE */
export function parsePortMapping(text: string): PortMapping {
  const [, before, remoteText = "", protocolText = "tcp"] = /^(?:(\d*):)?([a-zA-Z0-9-]+)(?:\/([a-zA-Z]+))?$/.exec(text) ?? [];
  const remote = parsePortChoice(remoteText.toLowerCase());
  const protocol = protocolText.toLowerCase();
  if (remote === undefined) throw usageError(`${text}: write a port as [LOCAL:]REMOTE[/udp], such as 8080:80, :http or 5353:53/udp`);
  if (protocol !== "tcp" && protocol !== "udp") throw usageError(`${text}: the protocol is tcp or udp`);
  const localPort = before === undefined ? undefined : Number(before);
  if (localPort !== undefined && localPort > 65_535) throw usageError(`${text}: the local port is a number from 0 to 65535`);
  return { localPort, remote, protocol };
}

/** The target that a mapping leads to. */
export function forwardTargetOf(object: ObjectChoice, namespace: string, { remote, protocol }: PortMapping): ForwardTarget {
  const { type, name } = object;
  return type === "node" ? { type, name, protocol, port: remote } : { type, namespace, name, protocol, port: remote };
}
