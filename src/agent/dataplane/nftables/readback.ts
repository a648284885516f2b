/**
 * Our own table as `nft -j` prints it. What is not understood becomes an element that nobody wants, so it is removed; a chain whose rules
 * cannot be told is written anew.
 */
import { parseAddress } from "#agent/dataplane/address.ts";
import type { BaseChain, ContainerName } from "./layout.ts";
import type { TableContents } from "./placement.ts";

/** The table as it was found. */
export interface FoundTable {
  readonly chains: ReadonlyMap<string, FoundChain>;
  readonly sets: ReadonlySet<string>;
  /** The elements of the maps and sets that this version knows. */
  readonly contents: TableContents;
}

export interface FoundChain {
  readonly base: BaseChain | undefined;
  /** The comments of its rules, in order. */
  readonly digests: readonly string[];
}

/** What nft prints by name: protocols where the machine has /etc/protocols, and two of tc's class numbers. */
const named: ReadonlyMap<string, string> = new Map([
  ["tcp", "6"],
  ["udp", "17"],
  ["sctp", "132"],
  ["none", "0:0"],
  ["root", "ffff:ffff"],
]);

/** The table in the answer to `nft -j list table`. Throws if it is not that. */
export function parseTable(text: string, known: readonly ContainerName[]): FoundTable {
  const chains = new Map<string, { base: BaseChain | undefined; digests: string[] }>();
  const sets = new Map<string, JsonItem>();
  for (const item of itemsOf(text)) {
    const chain = objectOf(item, "chain");
    if (chain !== undefined) chains.set(textOf(chain, "name"), { base: baseOf(chain), digests: [] });
    const rule = objectOf(item, "rule");
    if (rule !== undefined) chains.get(textOf(rule, "chain"))?.digests.push(textOf(rule, "comment"));
    const set = objectOf(item, "set") ?? objectOf(item, "map");
    if (set !== undefined) sets.set(textOf(set, "name"), set);
  }
  const contents = new Map(known.map((name) => [name, elementsIn(sets.get(name))]));
  return { chains, sets: new Set(sets.keys()), contents };
}

/** The keys in the answer to `nft -j list set`. Throws if it is not that. */
export function parseSet(text: string, name: ContainerName): readonly string[] {
  const sets = itemsOf(text).map((item) => objectOf(item, "set"));
  return [...elementsIn(sets.find((set) => set !== undefined && textOf(set, "name") === name)).keys()];
}

function elementsIn(set: JsonItem | undefined): ReadonlyMap<string, string> {
  const elements = new Map<string, string>();
  const list = set?.["elem"];
  if (set === undefined || !Array.isArray(list)) return elements;
  const isMap = "map" in set;
  for (const element of list as readonly unknown[]) {
    const [key, value] = isMap && Array.isArray(element) ? (element as readonly unknown[]) : [element, undefined];
    elements.set(toText(key), value === undefined ? "" : toText(value));
  }
  return elements;
}

function itemsOf(text: string): readonly JsonItem[] {
  // nft's JSON schema (libnftables-json(5)), looked at item by item below.
  const answer = JSON.parse(text) as { readonly nftables?: unknown };
  if (!Array.isArray(answer.nftables)) throw new Error("nft's answer is not a list of objects");
  return (answer.nftables as readonly unknown[]).filter(isItem);
}

type JsonItem = Readonly<Record<string, unknown>>;

function isItem(value: unknown): value is JsonItem {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objectOf(item: JsonItem, name: string): JsonItem | undefined {
  const value = item[name];
  return isItem(value) ? value : undefined;
}

function textOf(item: JsonItem, name: string): string {
  const value = item[name];
  return typeof value === "string" ? value : "";
}

function baseOf(chain: JsonItem): BaseChain | undefined {
  if (chain["hook"] === undefined) return undefined;
  // Compared with ours, never used: a chain of another kind is simply not the same.
  return { type: chain["type"], hook: chain["hook"], priority: chain["prio"] } as BaseChain;
}

/** A key or value as scripts write it. */
function toText(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return named.get(value) ?? parseAddress(value)?.text ?? value;
  return isItem(value) ? expressionText(value) : "?";
}

function expressionText(value: JsonItem): string {
  const { concat, range } = value;
  if (Array.isArray(concat)) return (concat as readonly unknown[]).map(toText).join(" . ");
  if (Array.isArray(range)) return (range as readonly unknown[]).map(toText).join("-");
  const wrapped = objectOf(value, "elem");
  if (wrapped !== undefined) return toText(wrapped["val"]);
  const prefix = objectOf(value, "prefix");
  if (prefix !== undefined) return `${toText(prefix["addr"])}/${String(prefix["len"])}`;
  for (const verdict of ["goto", "jump"]) {
    const target = objectOf(value, verdict);
    if (target !== undefined) return `${verdict} ${textOf(target, "target")}`;
  }
  return "drop" in value ? "drop" : "?";
}
