/** Changes as scripts for `nft -f -`: each script is one transaction. */
import { createHash } from "node:crypto";

import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import { type ChainDefinition, type ContainerName, containers, familyWords, layoutDigest, tableName } from "./layout.ts";
import type { ElementChange, TableChanges } from "./mirror.ts";

/** The kernel holds one lock for a whole transaction, so a large change goes in pieces of about so many elements. */
export const maxBatchElements = 4_000;
/** Elements in one command: nft reads a line at a time. */
const elementsInLine = 500;
const ruleDigestLength = 10;
/** Elements that others lean on: they come before the first of these, and go after the last. */
const sharedContainers: ReadonlySet<ContainerName> = new Set<ContainerName>([
  "cluster-ips",
  "hairpin",
  "affinity-scans",
  "affinity-timeouts",
  "affinity-places",
  "affinity-endpoints",
]);

interface Piece {
  readonly container: ContainerName;
  readonly key: string;
  readonly change: ElementChange;
}

/** What a rule carries as its comment: a table that is read back is compared by it, since nft prints rules in words of its own. */
export function ruleDigest(rule: string): string {
  return createHash("sha256").update(rule).digest("hex").slice(0, ruleDigestLength);
}

/** The name of a set that says which layout a table has; JSON output leaves a table's own comment out. */
export function layoutMarker(family: IpFamily): string {
  return `layout-${layoutDigest(family)}`;
}

/** Makes the table with its maps and sets, empty. */
export function createTable(family: IpFamily): string {
  const { addressType } = familyWords(family);
  const at = tableOf(family);
  const made = containers(family).map(({ name, kind, definition }) => `add ${kind} ${at} ${name} { ${definition} }`);
  return [`add table ${at}`, ...made, `add set ${at} ${layoutMarker(family)} { type ${addressType}; }`].join("\n");
}

/** Makes sure that the table is there, so that it can be read or removed. */
export function ensureTable(family: IpFamily): string {
  return `add table ${tableOf(family)}`;
}

export function deleteTable(family: IpFamily): string {
  return `${ensureTable(family)}\ndelete table ${tableOf(family)}`;
}

/** Makes chains with their rules, in place of what is there under their names. */
export function writeChains(family: IpFamily, chains: readonly ChainDefinition[]): string {
  const at = tableOf(family);
  const names = chains.map((chain) => `add chain ${at} ${chain.name}${hookOf(chain)}\nflush chain ${at} ${chain.name}`);
  const rules = chains.flatMap(({ name, rules: list }) =>
    list.map((rule) => `add rule ${at} ${name} ${rule} comment "${ruleDigest(rule)}"`),
  );
  return [...names, ...rules].join("\n");
}

/** Removes chains with their rules. Fails for one that a rule or element still names. */
export function deleteChains(family: IpFamily, names: readonly string[]): string {
  return names.map((name) => `delete chain ${tableOf(family)} ${name}`).join("\n");
}

/** Fills a small set anew. */
export function rewriteSet(family: IpFamily, name: ContainerName, elements: readonly string[]): string {
  const at = tableOf(family);
  const filled = elements.length === 0 ? [] : [`add element ${at} ${name} { ${elements.join(", ")} }`];
  return [`flush set ${at} ${name}`, ...filled].join("\n");
}

/** How many elements change. */
export function countChanges(changes: TableChanges): number {
  return [...changes.values()].reduce((sum, elements) => sum + elements.size, 0);
}

/**
 * The changes as transactions: one, unless they are many. Then all that one address or node port needs stays together, so every
 * connection meets either the old state of its Service or the new one.
 */
export function changeElements(family: IpFamily, changes: TableChanges): readonly string[] {
  const pieces = [...changes].flatMap(([container, elements]) => [...elements].map(([key, change]) => ({ container, key, change })));
  if (pieces.length <= maxBatchElements) return pieces.length === 0 ? [] : [toScript(family, pieces)];
  return toBatches(inOrder(pieces)).map((batch) => toScript(family, batch));
}

/** Forgets clients. Adding first makes the deletion of one that has just expired no error. */
export function forgetClients(family: IpFamily, clients: readonly string[]): string {
  const at = tableOf(family);
  return clients.map((client) => `add element ${at} affinity { ${client} }\ndelete element ${at} affinity { ${client} }`).join("\n");
}

/** Groups of changes that must not be parted, in the order in which they may be made. */
function inOrder(pieces: readonly Piece[]): readonly (readonly Piece[])[] {
  const isGone = ({ change }: Piece): boolean => change.after === undefined;
  const shared = pieces.filter(({ container }) => sharedContainers.has(container));
  const frontends = Map.groupBy(
    pieces.filter(({ container }) => !sharedContainers.has(container)),
    frontendOf,
  );
  const single = (piece: Piece): readonly Piece[] => [piece];
  return [...shared.filter((piece) => !isGone(piece)).map(single), ...frontends.values(), ...shared.filter(isGone).map(single)];
}

/** The address, protocol and port that an element is about; a node port has no address. */
function frontendOf({ container, key }: Piece): string {
  const parts = container.includes("node-port") ? 2 : 3;
  return key.split(" . ", parts).join(" . ");
}

function toBatches(groups: readonly (readonly Piece[])[]): readonly (readonly Piece[])[] {
  const batches: Piece[][] = [[]];
  for (const group of groups) {
    const last = batches.at(-1);
    if (last !== undefined && last.length + group.length <= maxBatchElements) last.push(...group);
    else batches.push([...group]);
  }
  return batches.filter((batch) => batch.length > 0);
}

function toScript(family: IpFamily, pieces: readonly Piece[]): string {
  const deleted = pieces.filter(({ change }) => change.before !== undefined);
  const added = pieces.filter(({ change }) => change.after !== undefined);
  return [
    ...commands(family, "delete", deleted, ({ key }) => key),
    ...commands(family, "add", added, ({ key, change }) => (change.after === "" ? key : `${key} : ${change.after}`)),
  ].join("\n");
}

function commands(family: IpFamily, verb: "add" | "delete", pieces: readonly Piece[], toText: (piece: Piece) => string): readonly string[] {
  const lines: string[] = [];
  for (const [container, list] of Map.groupBy(pieces, (piece) => piece.container)) {
    for (let start = 0; start < list.length; start += elementsInLine) {
      const elements = list.slice(start, start + elementsInLine).map(toText);
      lines.push(`${verb} element ${tableOf(family)} ${container} { ${elements.join(", ")} }`);
    }
  }
  return lines;
}

function tableOf(family: IpFamily): string {
  return `${familyWords(family).table} ${tableName}`;
}

function hookOf({ base }: ChainDefinition): string {
  return base === undefined ? "" : ` { type ${base.type} hook ${base.hook} priority ${base.priority}; policy accept; }`;
}
