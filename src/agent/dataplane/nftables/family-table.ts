/** One family's table in the kernel: made, changed, read back and repaired. */
import type { IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { chainsOf, changedValues, finalValues, isStray, placeOf, vacatedPlaces } from "./final-contents.ts";
import { type ChainDefinition, type ContainerName, containers, familyWords, fixedChains, type LayoutOptions, tableName } from "./layout.ts";
import { type TableChanges, TableMirror } from "./mirror.ts";
import { type Nft, NftError } from "./nft.ts";
import type { TableContents } from "./placement.ts";
import { type FoundChain, type FoundTable, parseSet, parseTable } from "./readback.ts";
import {
  changeElements,
  countChanges,
  createTable,
  deleteChains,
  deleteTable,
  ensureTable,
  forgetClients,
  layoutMarker,
  rewriteSet,
  ruleDigest,
  writeChains,
} from "./script.ts";
import { changedSets, type SmallSet, type SmallSets, smallSetsIn, smallSetsOf } from "./small-sets.ts";

/** What the table is known to be like, after a change that succeeded. */
interface Known {
  readonly mirror: TableMirror;
  readonly options: LayoutOptions;
  readonly smallSets: SmallSets;
  readonly chains: ReadonlySet<string>;
}

/** All that one call writes. */
interface Update {
  readonly changes: TableChanges;
  readonly chains: readonly ChainDefinition[];
  readonly smallSets: readonly SmallSet[];
}

/** These are not compared element by element with what Services need: clients fill the first, settings the others. */
const apart: ReadonlySet<ContainerName> = new Set<ContainerName>(["affinity", "service-cidrs", "node-port-ips"]);

export class FamilyTable {
  readonly #family: IpFamily;
  readonly #nft: Nft;
  readonly #masqueradeBit: number;
  /** Undefined: the table has to be read. */
  #known: Known | undefined;

  constructor(family: IpFamily, nft: Nft, masqueradeBit: number) {
    this.#family = family;
    this.#nft = nft;
    this.#masqueradeBit = masqueradeBit;
  }

  /** Makes the kernel's table like this one; returns how many elements, chains and sets it changed. Throws `NftError`. */
  async apply(table: ServiceTable): Promise<number> {
    const known = this.#known;
    const options = optionsOf(table, this.#masqueradeBit);
    if (known === undefined || JSON.stringify(known.options) !== JSON.stringify(options)) return this.verify(table);
    // Until all of it has succeeded, nobody knows what the table is like.
    this.#known = undefined;
    const changes = known.mirror.advance(table.ports);
    const smallSets = smallSetsOf(table);
    const chains = chainsOf(changedValues(changes), options).filter(({ name }) => !known.chains.has(name));
    const sets = changedSets(known.smallSets, smallSets);
    await this.#write({ changes, chains, smallSets: sets });
    const vacated = vacatedPlaces(changes);
    if (vacated.size > 0) await this.#forget((await this.#clients()).filter((client) => vacated.has(placeOf(client))));
    this.#known = { ...known, smallSets, chains: new Set([...known.chains, ...chains.map(({ name }) => name)]) };
    return countChanges(changes) + chains.length + sets.length;
  }

  /** Reads the table, and repairs what is not as it should be; returns how many repairs that took. Throws `NftError`. */
  async verify(table: ServiceTable): Promise<number> {
    this.#known = undefined;
    const options = optionsOf(table, this.#masqueradeBit);
    const smallSets = smallSetsOf(table);
    const found = await this.#read(table, options);
    const { contents } = found;
    const { mirror, changes } = TableMirror.adopt(table.ports, without(contents, apart));
    const wanted = [...chainsOf(finalValues(contents, changes), options), ...fixedChains(options)];
    const broken = wanted.filter((chain) => !isAsWanted(found.chains.get(chain.name), chain));
    const isBase = ({ base }: ChainDefinition): boolean => base !== undefined;
    const sets = changedSets(smallSetsIn(contents), smallSets);
    await this.#write({ changes, chains: broken.filter((chain) => !isBase(chain)), smallSets: sets });
    // With its base chains the table begins to work, and whatever was missing in it is there now.
    const base = broken.filter(isBase);
    if (base.length > 0) await this.#nft.run(remake(this.#family, base, found));
    const clients = [...(contents.get("affinity")?.keys() ?? [])];
    const strays = await this.#forget(clients.filter((client) => isStray(client, contents, changes)));
    const names = new Set(wanted.map(({ name }) => name));
    await this.#deleteUnused([...found.chains.keys()].filter((name) => !names.has(name)));
    this.#known = { mirror, options, smallSets, chains: names };
    return countChanges(changes) + broken.length + sets.length + strays;
  }

  async remove(): Promise<void> {
    this.#known = undefined;
    await this.#nft.run(deleteTable(this.#family));
  }

  /** The table as it is; made first if there is none, or none of this layout. */
  async #read(table: ServiceTable, options: LayoutOptions): Promise<FoundTable> {
    await this.#nft.run(ensureTable(this.#family));
    const found = await this.#found();
    if (found.sets.has(layoutMarker(this.#family))) return found;
    const isWorking = [...found.chains.values()].some(({ base }) => base !== undefined);
    if (isWorking && (await this.#replace(table, options))) return this.#found();
    await this.#nft.run(`${deleteTable(this.#family)}\n${createTable(this.#family)}`);
    return { chains: new Map(), sets: new Set(), contents: new Map() };
  }

  /**
   * Lets another version's table work until this one takes its place in the same instant. Whether it could: without root on the machine
   * itself (in a user namespace) a transaction may not be as large as that, and then Services pause until the table is made in pieces.
   */
  async #replace(table: ServiceTable, options: LayoutOptions): Promise<boolean> {
    try {
      await this.#nft.run(wholeTable(table, options));
      return true;
    } catch (error) {
      if (!(error instanceof NftError)) throw error;
      // Throws if it is not the size: a table that works is not given up for one that would not.
      await this.#nft.check(
        [deleteTable(this.#family), createTable(this.#family), writeChains(this.#family, fixedChains(options))].join("\n"),
      );
      return false;
    }
  }

  async #found(): Promise<FoundTable> {
    const names = containers(this.#family).map(({ name }) => name);
    return parseTable(await this.#nft.list(["list", "table", familyWords(this.#family).table, tableName]), names);
  }

  async #clients(): Promise<readonly string[]> {
    return parseSet(await this.#nft.list(["list", "set", familyWords(this.#family).table, tableName, "affinity"]), "affinity");
  }

  /** One transaction unless there is much to write; then chains and sets come first, which no packet is sent to before the elements. */
  async #write({ changes, chains, smallSets }: Update): Promise<void> {
    const preparation = [
      ...(chains.length === 0 ? [] : [writeChains(this.#family, chains)]),
      ...smallSets.map(({ name, elements }) => rewriteSet(this.#family, name, elements)),
    ];
    const batches = changeElements(this.#family, changes);
    const scripts = batches.length <= 1 ? [[...preparation, ...batches].join("\n")] : [...preparation, ...batches];
    for (const script of scripts) if (script !== "") await this.#nft.run(script);
  }

  /** Nobody can come to these clients' places any more, but they may be given to other endpoints. */
  async #forget(clients: readonly string[]): Promise<number> {
    if (clients.length > 0) await this.#nft.run(forgetClients(this.#family, clients));
    return clients.length;
  }

  /** Kernels before 6.2 hold a chain for a moment after the last element that named it; then the next verification removes it. */
  async #deleteUnused(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    try {
      await this.#nft.run(deleteChains(this.#family, names));
    } catch (error) {
      if (!(error instanceof NftError)) throw error;
    }
  }
}

/** The script that would make a table where there is none: what `--dry-run` prints. */
export function renderTable(table: ServiceTable, masqueradeBit: number): string {
  return wholeTable(table, optionsOf(table, masqueradeBit));
}

/** A table with everything in it, in place of the one that is there. */
function wholeTable(table: ServiceTable, options: LayoutOptions): string {
  const { family } = table;
  const { changes } = TableMirror.adopt(table.ports, new Map());
  const chains = [...chainsOf(changedValues(changes), options), ...fixedChains(options)];
  const sets = changedSets(smallSetsIn(new Map()), smallSetsOf(table));
  return [
    deleteTable(family),
    createTable(family),
    writeChains(family, chains),
    ...sets.map(({ name, elements }) => rewriteSet(family, name, elements)),
    ...changeElements(family, changes),
  ].join("\n");
}

/** Writes base chains; one with another hook has to go first, in the same transaction. */
function remake(family: IpFamily, chains: readonly ChainDefinition[], { chains: found }: FoundTable): string {
  const misplaced = chains.filter((chain) => found.has(chain.name) && !hasSameHook(found.get(chain.name), chain)).map(({ name }) => name);
  return [deleteChains(family, misplaced), writeChains(family, chains)].join("\n");
}

function isAsWanted(found: FoundChain | undefined, chain: ChainDefinition): boolean {
  return found !== undefined && hasSameHook(found, chain) && found.digests.join() === chain.rules.map(ruleDigest).join();
}

function hasSameHook(found: FoundChain | undefined, { base }: ChainDefinition): boolean {
  const there = found?.base;
  return there?.type === base?.type && there?.hook === base?.hook && there?.priority === base?.priority;
}

function without(contents: TableContents, names: ReadonlySet<ContainerName>): TableContents {
  return new Map([...contents].filter(([name]) => !names.has(name)));
}

function optionsOf({ family, localDetection, masqueradeAll, nodePortAddresses }: ServiceTable, masqueradeBit: number): LayoutOptions {
  return { family, localDetection, masqueradeAll, nodePorts: nodePortAddresses.type, masqueradeBit };
}
