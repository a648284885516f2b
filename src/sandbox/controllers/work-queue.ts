/**
 * The controllers of the sandbox: what a kube-controller-manager and a scheduler do, for the few kinds served here. Each looks at
 * the store, computes what should be, and writes the difference; doing it again is harmless. What must stay true: a controller
 * works outside of the store's own call, one key at a time, and a failed write is no loss, because the next change asks again.
 */

/** Runs a function for keys that were added, each once until it is added again. */
export class WorkQueue {
  readonly #keys = new Set<string>();
  readonly #work: (key: string) => void;
  #scheduled = false;
  #closed = false;

  constructor(work: (key: string) => void) {
    this.#work = work;
  }

  add(key: string): void {
    if (this.#closed) return;
    this.#keys.add(key);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#drain());
  }

  close(): void {
    this.#closed = true;
    this.#keys.clear();
  }

  #drain(): void {
    this.#scheduled = false;
    const keys = [...this.#keys];
    this.#keys.clear();
    for (const key of keys) this.#work(key);
  }
}

/** A key of an object. */
export function toKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

/** Namespace and name of a key. */
export function fromKey(key: string): { readonly namespace: string; readonly name: string } {
  const [namespace = "", name = ""] = key.split("/");
  return { namespace, name };
}
