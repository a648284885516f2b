/** The taint that keeps pods off a node until its Services work: nodes register with it, and the first rules take it away. */
import type { Clock } from "#agent/clock.ts";
import { isObject, listField, objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";
import { taintRetryMs } from "./limits.ts";

export interface StartupTaintOptions {
  readonly api: ClusterApi;
  readonly node: string;
  /** The taint's key; all its effects go. */
  readonly key: string;
  readonly clock: Clock;
  /** Told, in a sentence, when it could not be removed; it is tried again. */
  readonly onFailure: (what: string) => void;
}

export class StartupTaint {
  readonly #options: StartupTaintOptions;
  #cancel: () => void = () => undefined;
  #isStopped = false;

  constructor(options: StartupTaintOptions) {
    this.#options = options;
  }

  /** Removes it, and goes on trying until it is gone. Resolves after the first attempt: whether it is gone. */
  async remove(): Promise<boolean> {
    const failure = await this.#attempt().catch((thrown: unknown) => (thrown instanceof Error ? thrown.message : "an unknown failure"));
    if (failure === undefined || this.#isStopped) return failure === undefined;
    const { clock, key, node, onFailure } = this.#options;
    onFailure(`the taint ${key} of the node ${node} could not be removed: ${failure}`);
    this.#cancel = clock.after(taintRetryMs, () => void this.remove());
    return false;
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** undefined when it is gone. The tests of the patch make sure that no other taint goes when somebody else writes at the same time. */
  async #attempt(): Promise<string | undefined> {
    const { api, node, key } = this.#options;
    const target = `/api/v1/nodes/${node}`;
    const answer = await api.get(target);
    if (answer.type === "refused") return `the apiserver refuses to show the node with ${answer.status} ${answer.reason}`;
    const operations = planRemoval(answer.object, key);
    if (operations.length === 0) return undefined;
    const patched = await api.patch(target, operations);
    return patched.type === "object" ? undefined : `the apiserver refuses the change with ${patched.status} ${patched.reason}`;
  }
}

/** The JSON Patch that removes a Node's taints of a key, from the last to the first so that places stay right. */
export function planRemoval(node: JsonObject, key: string): readonly JsonObject[] {
  const taints = listField(objectField(node, "spec"), "taints");
  return taints
    .map((taint, index) => ({ taint, path: `/spec/taints/${index}` }))
    .filter(({ taint }) => isObject(taint) && textField(taint, "key") === key)
    .toReversed()
    .flatMap(({ taint, path }) => [
      { op: "test", path, value: taint },
      { op: "remove", path },
    ]);
}
