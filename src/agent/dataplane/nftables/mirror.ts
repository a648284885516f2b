/**
 * What the kernel's table has in it, kept as the Service ports that it was made from: the elements of a port are made again when it
 * changes, and only then. It says what must change, and takes for granted that it will: after a failure the mirror is thrown away and
 * the table is read.
 */
import type { ServicePort } from "#agent/dataplane/dataplane.ts";
import { elementsOf, type PlacedPort, type TableElement } from "./elements.ts";
import type { ContainerName } from "./layout.ts";
import {
  AffinityLists,
  findLists,
  type FormerPlace,
  formerPlace,
  noPlace,
  placeInTable,
  placePort,
  type TableContents,
} from "./placement.ts";

/** One element's change; undefined: it is not there. */
export interface ElementChange {
  readonly before: string | undefined;
  readonly after: string | undefined;
}

export type TableChanges = ReadonlyMap<ContainerName, ReadonlyMap<string, ElementChange>>;

interface Entry {
  readonly placed: PlacedPort;
  /** The round in which the table last had this port. */
  round: number;
}

/** Elements that several ports share are counted. */
const sharedContainers: ReadonlySet<ContainerName> = new Set<ContainerName>(["cluster-ips", "hairpin"]);
/**
 * A packet may have read `internal-3` just before a change to two endpoints, and looks for the third just after it, so the maps that
 * these chains choose from keep what nobody chooses any more until the next change.
 */
const lateContainers: readonly ContainerName[] = ["endpoints", "inside-endpoints", "node-port-endpoints", "inside-node-port-endpoints"];

export class TableMirror {
  readonly #entries = new Map<ServicePort, Entry>();
  readonly #shared = new Map<string, number>();
  readonly #lists = new AffinityLists();
  /** Elements that wait for the next change to be removed. */
  #leftovers = new ChangeList();
  #round = 0;

  /** A mirror of a table that was read back, and what has to change in it. */
  static adopt(ports: readonly ServicePort[], contents: TableContents): { readonly mirror: TableMirror; readonly changes: TableChanges } {
    const mirror = new TableMirror();
    const changes = new ChangeList();
    const lists = findLists(contents);
    const places = ports.map((port) => ({ port, former: placeInTable(port, contents, lists) }));
    // First those that have a list, so that nobody else is given it.
    for (const { port, former } of places) if (former.affinity !== undefined) mirror.#add(port, former, changes);
    for (const { port, former } of places) if (former.affinity === undefined) mirror.#add(port, former, changes);
    for (const [container, elements] of contents) for (const [key, value] of elements) changes.find(container, key, value);
    return { mirror, changes: changes.effective() };
  }

  /** Takes new ports, and says what has to change. */
  advance(ports: readonly ServicePort[]): TableChanges {
    this.#round += 1;
    this.#lists.settle();
    const changes = new ChangeList();
    const added = ports.filter((port) => !this.#keeps(port));
    const former = this.#entries.size + added.length === ports.length ? new Map<string, FormerPlace>() : this.#dropUnseen(changes);
    for (const port of added) this.#add(port, former.get(nameOf(port)) ?? noPlace, changes);
    this.#postpone(changes);
    return changes.effective();
  }

  /** Whether the port is there already. */
  #keeps(port: ServicePort): boolean {
    const entry = this.#entries.get(port);
    if (entry !== undefined) entry.round = this.#round;
    return entry !== undefined;
  }

  /** Drops what the new ports do not have, and says what places it had, by name. */
  #dropUnseen(changes: ChangeList): ReadonlyMap<string, FormerPlace> {
    const former = new Map<string, FormerPlace>();
    for (const [port, { placed, round }] of this.#entries) {
      if (round === this.#round) continue;
      this.#entries.delete(port);
      former.set(nameOf(port), formerPlace(placed));
      if (placed.affinity !== undefined) this.#lists.release(placed.affinity.list);
      for (const element of elementsOf(placed)) if (!isShared(element) || this.#count(element, -1) === 0) changes.remove(element);
    }
    return former;
  }

  #add(port: ServicePort, former: FormerPlace, changes: ChangeList): void {
    const placed = placePort(port, former, this.#lists);
    this.#entries.set(port, { placed, round: this.#round });
    for (const element of elementsOf(placed)) if (!isShared(element) || this.#count(element, 1) === 1) changes.add(element);
  }

  #count({ container, key }: TableElement, step: 1 | -1): number {
    const name = `${container} ${key}`;
    const count = (this.#shared.get(name) ?? 0) + step;
    if (count === 0) this.#shared.delete(name);
    else this.#shared.set(name, count);
    return count;
  }

  /** Leaves late removals for the next time, and takes those that were left the last time. */
  #postpone(changes: ChangeList): void {
    const before = this.#leftovers;
    this.#leftovers = new ChangeList();
    for (const container of lateContainers) {
      for (const [key, { before: value, after }] of changes.of(container)) {
        if (value === undefined || after !== undefined) continue;
        this.#leftovers.remove({ container, key, value });
        changes.forget(container, key);
      }
      for (const [key, { before: value }] of before.of(container)) if (value !== undefined) changes.find(container, key, value);
    }
  }
}

/** Changes that are put together element by element. */
class ChangeList {
  readonly #changes = new Map<ContainerName, Map<string, ElementChange>>();

  remove({ container, key, value }: TableElement): void {
    this.of(container).set(key, { before: value, after: undefined });
  }

  /** Removals come before additions, so an element that moves to another port is one change. */
  add({ container, key, value }: TableElement): void {
    const elements = this.of(container);
    elements.set(key, { before: elements.get(key)?.before, after: value });
  }

  /** An element that is there, whether anybody wants it or not. */
  find(container: ContainerName, key: string, value: string): void {
    const elements = this.of(container);
    elements.set(key, { before: value, after: elements.get(key)?.after });
  }

  forget(container: ContainerName, key: string): void {
    this.of(container).delete(key);
  }

  of(container: ContainerName): Map<string, ElementChange> {
    const elements = this.#changes.get(container) ?? new Map<string, ElementChange>();
    this.#changes.set(container, elements);
    return elements;
  }

  /** Without what changes nothing. */
  effective(): TableChanges {
    for (const [container, elements] of this.#changes) {
      for (const [key, { before, after }] of elements) if (before === after) elements.delete(key);
      if (elements.size === 0) this.#changes.delete(container);
    }
    return this.#changes;
  }
}

function isShared({ container }: TableElement): boolean {
  return sharedContainers.has(container);
}

function nameOf({ namespace, name, portName, protocol }: ServicePort): string {
  return `${namespace}/${name}/${portName}/${protocol}`;
}
