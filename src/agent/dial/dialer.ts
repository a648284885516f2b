/**
 * The one place where the agent opens connections for users.
 *
 * What must stay true: a connection goes to the address of an object of this cluster that exists at this moment, and to no other; the address
 * is resolved once, and what was checked is what is dialled; the user whom the agent has verified itself may, says the cluster,
 * `create pods/portforward` on the very pod, or `create nodes/proxy` on the very node. A pod in its node's network counts as
 * both. Whatever cannot be asked is denied.
 */
import { GatewayError } from "#core/errors.ts";
import type { ForwardTarget, TransportProtocol } from "#core/kube/forward-target.ts";
import { sameAddress } from "./allowed-address.ts";
import type { AddressProblem } from "./allowed-address.ts";
import { maxDialAttempts, maxLookedAt } from "./limits.ts";
import type { PodFacts } from "./objects.ts";
import type { ObjectReader } from "./reader.ts";
import { podPort, TargetResolver } from "./resolver.ts";
import type { Candidate } from "./resolver.ts";
import type { DatagramSocket, StreamSocket, TargetSockets } from "./sockets.ts";

/** The user as reviews know them. */
export interface ReviewedUser {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Asks the cluster whether a user may do something (SubjectAccessReview); rejects when it cannot be asked. */
export interface Reviews {
  isAllowed(user: ReviewedUser, question: Question): Promise<boolean>;
}

interface Question {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** A target that was found, and that the user may reach. */
export interface ChosenTarget {
  /** `pods/<namespace>/<name>/<port>` or `nodes/<name>/<port>`. */
  readonly text: string;
  readonly address: string;
  readonly port: number;
  /** Whether the same object is still there with this address. */
  readonly isCurrent: () => Promise<boolean>;
}

export interface Dialled<Socket> {
  readonly chosen: ChosenTarget;
  readonly socket: Socket;
}

export interface DialerOptions {
  readonly reader: ObjectReader;
  readonly reviews: Reviews;
  readonly sockets: TargetSockets;
  readonly addressProblem: AddressProblem;
  readonly random: () => number;
}

/** All reject with a GatewayError: POLICY_DENIED, TARGET_UNKNOWN, TARGET_REFUSED, TARGET_UNREACHABLE, or why the cluster could not be asked. */
export class Dialer {
  readonly #options: DialerOptions;
  readonly #resolver: TargetResolver;

  constructor(options: DialerOptions) {
    this.#options = options;
    this.#resolver = new TargetResolver(options.reader, options.random);
  }

  /** What would be dialled; dials nothing. */
  async describe(target: ForwardTarget, user: ReviewedUser): Promise<ChosenTarget> {
    for await (const chosen of this.#approved(target, user)) return chosen;
    throw noneLeft(target);
  }

  /** Connects; where a connection was never made, another endpoint is tried. */
  async connectTcp(target: ForwardTarget, user: ReviewedUser, signal: AbortSignal): Promise<Dialled<StreamSocket>> {
    const failures: string[] = [];
    for await (const chosen of this.#approved(target, user)) {
      const outcome = await this.#options.sockets.connectTcp(chosen.address, chosen.port, signal);
      if (outcome.type === "connected") return { chosen, socket: outcome.socket };
      failures.push(`${chosen.text}: ${outcome.reason}`);
      if (failures.length >= maxDialAttempts || signal.aborted) break;
    }
    throw failures.length === 0
      ? noneLeft(target)
      : new GatewayError("TARGET_UNREACHABLE", `no connection was made: ${failures.join("; ")}`);
  }

  /** Makes a socket that speaks with the target alone. */
  async openUdp(target: ForwardTarget, user: ReviewedUser): Promise<Dialled<DatagramSocket>> {
    const chosen = await this.describe(target, user);
    return { chosen, socket: await this.#options.sockets.openUdp(chosen.address, chosen.port) };
  }

  /** The candidates that the user may reach, each checked when its turn has come. */
  async *#approved(target: ForwardTarget, user: ReviewedUser): AsyncGenerator<ChosenTarget> {
    const problems: GatewayError[] = [];
    let approved = 0;
    for (const candidate of (await this.#candidates(target, user)).slice(0, maxLookedAt)) {
      try {
        const chosen = await this.#approve(candidate, target.protocol, user);
        approved += 1;
        yield chosen;
      } catch (thrown) {
        const isSkipped = thrown instanceof GatewayError && (thrown.code === "TARGET_REFUSED" || thrown.code === "TARGET_UNREACHABLE");
        if (!isSkipped) throw await this.#concealed(thrown, target, user);
        problems.push(thrown);
      }
    }
    const [first] = problems;
    if (approved === 0 && first !== undefined) throw await this.#concealed(first, target, user);
  }

  async #candidates(target: ForwardTarget, user: ReviewedUser): Promise<readonly Candidate[]> {
    try {
      return await this.#resolver.candidates(target, user.username);
    } catch (thrown) {
      throw await this.#concealed(thrown, target, user);
    }
  }

  /** What is wrong with a Service or Deployment is told to those who may read it; to others it is forbidden, whether it is there or not. */
  async #concealed(thrown: unknown, target: ForwardTarget, user: ReviewedUser): Promise<unknown> {
    if (target.type !== "service" && target.type !== "deployment") return thrown;
    const { namespace, name } = target;
    const resource = `${target.type}s`;
    const group = target.type === "deployment" ? "apps" : "";
    const question = { verb: "get", group, version: "v1", resource, subresource: "", namespace, name };
    if (await this.#options.reviews.isAllowed(user, question)) return thrown;
    return new GatewayError(
      "POLICY_DENIED",
      `${resource} "${name}" is forbidden: User "${user.username}" cannot create resource "pods/portforward" on a pod of it in the namespace "${namespace}"`,
    );
  }

  #approve(candidate: Candidate, protocol: TransportProtocol, user: ReviewedUser): Promise<ChosenTarget> {
    return candidate.type === "pod" ? this.#approvePod(candidate, protocol, user) : this.#approveNode(candidate, user);
  }

  async #approvePod(
    candidate: Extract<Candidate, { readonly type: "pod" }>,
    protocol: TransportProtocol,
    user: ReviewedUser,
  ): Promise<ChosenTarget> {
    const { namespace, name } = candidate;
    await this.#assertAllowed(user, { resource: "pods", subresource: "portforward", namespace, name });
    const pod = await this.#options.reader.pod(namespace, name);
    if (pod === undefined) throw missingPod(candidate);
    const address = podAddress(pod, candidate);
    if (pod.isHostNetwork) await this.#assertOnNode(pod, address, user);
    const port = podPort(pod, candidate.port, protocol);
    this.#assertDialable(`pods "${name}"`, address, port);
    const isCurrent = async (): Promise<boolean> => {
      const now = await this.#options.reader.pod(namespace, name);
      return now !== undefined && now.uid === pod.uid && podProblem(now, address) === undefined;
    };
    return { text: `pods/${namespace}/${name}/${port}`, address, port, isCurrent };
  }

  async #approveNode({ name, port }: Extract<Candidate, { readonly type: "node" }>, user: ReviewedUser): Promise<ChosenTarget> {
    await this.#assertAllowed(user, { resource: "nodes", subresource: "proxy", namespace: "", name });
    const addresses = await this.#options.reader.nodeAddresses(name);
    if (addresses === undefined) throw new GatewayError("TARGET_UNKNOWN", `nodes "${name}" not found`);
    const [address] = addresses;
    if (address === undefined) throw new GatewayError("TARGET_UNREACHABLE", `nodes "${name}" has no InternalIP`);
    this.#assertDialable(`nodes "${name}"`, address, port);
    const isCurrent = async (): Promise<boolean> => (await this.#options.reader.nodeAddresses(name))?.includes(address) === true;
    return { text: `nodes/${name}/${port}`, address, port, isCurrent };
  }

  /** A pod in its node's network is as good as the node: its ports are those of the kubelet and of all else that runs there. */
  async #assertOnNode(pod: PodFacts, address: string, user: ReviewedUser): Promise<void> {
    await this.#assertAllowed(user, { resource: "nodes", subresource: "proxy", namespace: "", name: pod.nodeName });
    const addresses = (await this.#options.reader.nodeAddresses(pod.nodeName)) ?? [];
    if (!addresses.some((each) => sameAddress(each, address)))
      throw new GatewayError("TARGET_REFUSED", `pods "${pod.name}" is in its node's network, and its address is none of its node's`);
  }

  async #assertAllowed(
    user: ReviewedUser,
    on: { readonly resource: string; readonly subresource: string; readonly namespace: string; readonly name: string },
  ): Promise<void> {
    if (await this.#options.reviews.isAllowed(user, { verb: "create", group: "", version: "v1", ...on })) return;
    const place = on.namespace === "" ? "at the cluster scope" : `in the namespace "${on.namespace}"`;
    throw new GatewayError(
      "POLICY_DENIED",
      `${on.resource} "${on.name}" is forbidden: User "${user.username}" cannot create resource "${on.resource}/${on.subresource}" in API group "" ${place}`,
    );
  }

  #assertDialable(what: string, address: string, port: number): void {
    const problem = this.#options.addressProblem(address, port);
    if (problem !== undefined) throw new GatewayError("TARGET_REFUSED", `the address of ${what} is not dialled: ${problem}`);
  }
}

/** The address of a pod that runs: the wanted one if it has it, else its first. */
function podAddress(pod: PodFacts, candidate: Extract<Candidate, { readonly type: "pod" }>): string {
  if (candidate.uid !== "" && candidate.uid !== pod.uid)
    throw new GatewayError("TARGET_UNREACHABLE", `pods "${pod.name}" has been replaced by another of its name`);
  const address = candidate.address ?? pod.addresses[0] ?? "";
  const problem = podProblem(pod, address);
  if (problem !== undefined) throw problem;
  return address;
}

/** A pod that an endpoint or a Deployment named may be gone: then another is looked at. */
function missingPod({ namespace, name, address, uid }: Extract<Candidate, { readonly type: "pod" }>): GatewayError {
  const isNamed = address === undefined && uid === "";
  return new GatewayError(isNamed ? "TARGET_UNKNOWN" : "TARGET_UNREACHABLE", `pods "${name}" not found in the namespace "${namespace}"`);
}

/** A pod that has ended keeps its address in its status, and another pod may have it by now. */
function podProblem(pod: PodFacts, address: string): GatewayError | undefined {
  if (pod.phase !== "Running")
    return new GatewayError("TARGET_UNREACHABLE", `pods "${pod.name}" is not running: its phase is ${pod.phase || "unknown"}`);
  if (address === "") return new GatewayError("TARGET_UNREACHABLE", `pods "${pod.name}" has no address yet`);
  if (pod.addresses.some((each) => sameAddress(each, address))) return undefined;
  return new GatewayError("TARGET_REFUSED", `an endpoint names pods "${pod.name}", and its address is none of that pod's`);
}

function noneLeft(target: ForwardTarget): GatewayError {
  return new GatewayError("TARGET_UNREACHABLE", `nothing of ${target.type}s "${target.name}" can be reached`);
}
