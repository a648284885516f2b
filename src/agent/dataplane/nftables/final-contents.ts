/** What a table will have in it after changes, as far as repairs need to know it. */
import { dynamicChain } from "./balancing.ts";
import type { ChainDefinition, ContainerName, LayoutOptions } from "./layout.ts";
import type { TableChanges } from "./mirror.ts";
import type { TableContents } from "./placement.ts";

/** The map that says which places there are. */
const places: ContainerName = "affinity-endpoints";

/** The chains that the verdicts of these elements go to and that depend on Services, each once. */
export function chainsOf(verdicts: Iterable<string>, options: LayoutOptions): readonly ChainDefinition[] {
  const names = new Set<string>();
  for (const verdict of verdicts) {
    const target = /^(?:goto|jump) (.+)$/.exec(verdict)?.[1];
    if (target !== undefined) names.add(target);
  }
  return [...names].map((name) => dynamicChain(name, options)).filter((chain) => chain !== undefined);
}

/** All values that elements will have. */
export function* finalValues(contents: TableContents, changes: TableChanges): Generator<string> {
  for (const [container, elements] of contents) {
    const changed = changes.get(container);
    for (const [key, value] of elements) if (!changed?.has(key)) yield value;
  }
  yield* changedValues(changes);
}

/** The values that elements are given. */
export function* changedValues(changes: TableChanges): Generator<string> {
  for (const elements of changes.values()) for (const { after } of elements.values()) if (after !== undefined) yield after;
}

/** The places (`2:1`) that no longer mean what they meant when clients were remembered by them. */
export function vacatedPlaces(changes: TableChanges): ReadonlySet<string> {
  const changed = [...(changes.get(places) ?? [])];
  return new Set(changed.filter(([, { before }]) => before !== undefined).map(([key]) => key));
}

/** Whether a client of a table that was read back is remembered by a place that means nothing, or will not mean what it meant. */
export function isStray(client: string, contents: TableContents, changes: TableChanges): boolean {
  const place = placeOf(client);
  return contents.get(places)?.has(place) !== true || changes.get(places)?.has(place) === true;
}

/** The place by which a client (`10.244.1.2 . 2:1`) is remembered. */
export function placeOf(client: string): string {
  return client.slice(client.lastIndexOf(" . ") + " . ".length);
}
