/**
 * A node's Lease (coordination.k8s.io/v1): how its service proxy tells the cluster of its state. Nobody's traffic depends on it. It is
 * written when the state changes, and renewed so that silence can be told from health; it goes with its Node.
 */
import { readNodeState, serviceProxyNamespace, toNodeError } from "#core/node-states.ts";
import type { NodeCondition, NodeState } from "#core/node-states.ts";
import { objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { Clock } from "#agent/clock.ts";
import type { ApiAnswer, ClusterApi } from "./api.ts";
import { nodeLeaseLookMs, nodeLeaseRefusedMs, nodeLeaseRenewMs, nodeLeaseRestMs, nodeLeaseRetryMs, nodeLeaseSeconds } from "./limits.ts";
import { toMicroTime } from "./micro-time.ts";

/** Where the Leases are. */
export const nodeLeasesTarget = `/apis/coordination.k8s.io/v1/namespaces/${serviceProxyNamespace}/leases`;

const annotations = {
  state: "sallyport.dev/state",
  since: "sallyport.dev/since",
  generation: "sallyport.dev/generation",
  lastError: "sallyport.dev/last-error",
} as const;

/** What a node's service proxy is to tell. */
export interface NodeLeaseContent {
  readonly state: Exclude<NodeCondition, "unknown">;
  readonly generation: number;
  readonly lastError: string | undefined;
  /** The Node's UID, so that the Lease goes with it; empty while it is not known. */
  readonly nodeUid: string;
}

export interface NodeLeaseOptions {
  readonly api: ClusterApi;
  readonly node: string;
  readonly clock: Clock;
  readonly describe: () => NodeLeaseContent;
  /** Told, in a sentence, when it begins to be impossible to write; undefined when it is possible again. */
  readonly onTrouble: (what: string | undefined) => void;
}

/** A Lease that was read. */
export interface ReadLease {
  readonly state: NodeState;
  /** When it was renewed last, by the node's clock; milliseconds since the epoch. */
  readonly renewedMs: number;
}

type Outcome =
  | { readonly type: "written"; readonly resourceVersion: string }
  /** Somebody else wrote or removed it at the same time. */
  | { readonly type: "outdated" }
  | { readonly type: "failed"; readonly what: string; readonly retryMs: number };

export class NodeLease {
  readonly #options: NodeLeaseOptions;
  #cancel: () => void = () => undefined;
  #isStopped = false;
  #state: NodeLeaseContent["state"] | undefined;
  #sinceMs = 0;
  #written = "";
  #writtenMs = Number.NEGATIVE_INFINITY;
  #resourceVersion: string | undefined;
  #trouble: string | undefined;

  constructor(options: NodeLeaseOptions) {
    this.#options = options;
  }

  /** Looks for changes from now on. */
  start(): void {
    this.#later(nodeLeaseLookMs);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #later(ms: number): void {
    if (!this.#isStopped) this.#cancel = this.#options.clock.after(ms, () => void this.#look());
  }

  async #look(): Promise<void> {
    const content = this.#options.describe();
    const nowMs = this.#options.clock.now();
    if (content.state !== this.#state) this.#sinceMs = nowMs;
    this.#state = content.state;
    // Generations grow with every change of a Service: they wait for the next renewal.
    const text = JSON.stringify([content.state, content.lastError]);
    const restMs = text === this.#written ? nodeLeaseRenewMs : nodeLeaseRestMs;
    if (nowMs - this.#writtenMs < restMs) return this.#later(nodeLeaseLookMs);
    const outcome = await this.#write(this.#toLease(content, nowMs));
    if (outcome.type === "written") [this.#written, this.#writtenMs] = [text, nowMs];
    this.#resourceVersion = outcome.type === "written" ? outcome.resourceVersion : undefined;
    this.#tell(outcome.type === "failed" ? outcome.what : undefined);
    this.#later(outcome.type === "failed" ? outcome.retryMs : nodeLeaseLookMs);
  }

  async #write(lease: JsonObject): Promise<Outcome> {
    try {
      return this.#resourceVersion === undefined ? await this.#find(lease) : await this.#update(lease, this.#resourceVersion);
    } catch (thrown) {
      return { type: "failed", what: thrown instanceof Error ? thrown.message : "an unknown failure", retryMs: nodeLeaseRetryMs };
    }
  }

  async #find(lease: JsonObject): Promise<Outcome> {
    const { api, node } = this.#options;
    const found = await api.get(`${nodeLeasesTarget}/${node}`);
    if (found.type === "object") return this.#update(lease, versionOf(found.object));
    if (found.status !== 404) return refused("shows", found);
    return toOutcome(await api.create(nodeLeasesTarget, lease));
  }

  async #update(lease: JsonObject, resourceVersion: string): Promise<Outcome> {
    const { api, node } = this.#options;
    const metadata = { ...objectField(lease, "metadata"), resourceVersion };
    const answer = await api.update(`${nodeLeasesTarget}/${node}`, { ...lease, metadata });
    return answer.type === "refused" && answer.status === 404 ? { type: "outdated" } : toOutcome(answer);
  }

  #toLease({ state, generation, lastError, nodeUid }: NodeLeaseContent, nowMs: number): JsonObject {
    const { node } = this.#options;
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: {
        name: node,
        namespace: serviceProxyNamespace,
        annotations: {
          [annotations.state]: state,
          [annotations.since]: new Date(this.#sinceMs).toISOString(),
          [annotations.generation]: String(generation),
          ...(lastError !== undefined && { [annotations.lastError]: toNodeError(lastError) }),
        },
        ...(nodeUid !== "" && { ownerReferences: [{ apiVersion: "v1", kind: "Node", name: node, uid: nodeUid }] }),
      },
      spec: { holderIdentity: node, leaseDurationSeconds: nodeLeaseSeconds, renewTime: toMicroTime(nowMs) },
    };
  }

  #tell(trouble: string | undefined): void {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.onTrouble(trouble);
  }
}

/** Reads a node's Lease; undefined for one that is none, or says what nobody understands. */
export function readNodeLease(lease: JsonObject): ReadLease | undefined {
  const metadata = objectField(lease, "metadata");
  const said = objectField(metadata, "annotations");
  const lastError = toNodeError(textField(said, annotations.lastError));
  const generation = textField(said, annotations.generation);
  const problems: string[] = [];
  const state = readNodeState(
    {
      node: textField(metadata, "name"),
      state: textField(said, annotations.state),
      since: textField(said, annotations.since),
      generation: /^\d{1,15}$/.test(generation) ? Number(generation) : undefined,
      ...(lastError !== "" && { lastError }),
    },
    "",
    problems,
  );
  const renewedMs = Date.parse(textField(objectField(lease, "spec"), "renewTime"));
  return problems.length > 0 || Number.isNaN(renewedMs) ? undefined : { state, renewedMs };
}

function toOutcome(answer: ApiAnswer): Outcome {
  if (answer.type === "object") return { type: "written", resourceVersion: versionOf(answer.object) };
  return answer.status === 409 ? { type: "outdated" } : refused("takes", answer);
}

function refused(verb: "shows" | "takes", { status, reason }: Extract<ApiAnswer, { readonly type: "refused" }>): Outcome {
  const what = `the apiserver ${verb} no Lease of this node in the namespace ${serviceProxyNamespace} (${status} ${reason})`;
  return { type: "failed", what, retryMs: status === 403 || status === 404 ? nodeLeaseRefusedMs : nodeLeaseRetryMs };
}

function versionOf(object: JsonObject): string {
  return textField(objectField(object, "metadata"), "resourceVersion");
}
