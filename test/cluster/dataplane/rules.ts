/** The rules of our table in a world, by kind, so that a test can take one out and put it back. */
import { dynamicChain } from "#agent/dataplane/nftables/balancing.ts";
import { type ChainDefinition, familyWords, fixedChains, type LayoutOptions, tableName } from "#agent/dataplane/nftables/layout.ts";
import type { Nft } from "#agent/dataplane/nftables/nft.ts";
import { parseTable } from "#agent/dataplane/nftables/readback.ts";
import { writeChains } from "#agent/dataplane/nftables/script.ts";

/** One rule in the tables of all families. */
export interface FoundRule {
  /** The same for rules that do the same for different numbers of endpoints or seconds. */
  readonly kind: string;
  readonly isAboutAffinity: boolean;
  remove(): Promise<void>;
  restore(): Promise<void>;
}

/** Nobody outside the node sees what these leave undone: a mark and a priority that nothing looks at any more stay on a packet. */
const invisible = [/meta priority set 0$/, /^meta mark set meta mark xor 0x4000$/];

/** All rules that can be seen at work, by kind. */
export async function findRules(
  nft: Nft,
  [first, ...others]: readonly LayoutOptions[],
): Promise<ReadonlyMap<string, readonly FoundRule[]>> {
  if (first === undefined) throw new Error("there are no tables");
  const families = [first, ...others];
  const { table } = familyWords(first.family);
  const { chains } = parseTable(await nft.list(["list", "table", table, tableName]), []);
  const found = [...chains.keys()].flatMap((name) => {
    const definitions = families.map((options) => definitionOf(name, options));
    return (definitions[0]?.rules ?? []).map((text, index) => toRule({ nft, families, definitions, text, index }));
  });
  return Map.groupBy(
    found.filter(({ text }) => !invisible.some((pattern) => pattern.test(text))),
    ({ kind }) => kind,
  );
}

interface RuleAt {
  readonly nft: Nft;
  readonly families: readonly LayoutOptions[];
  /** The rule's chain in each family. */
  readonly definitions: readonly ChainDefinition[];
  readonly text: string;
  readonly index: number;
}

function toRule({ nft, families, definitions, text, index }: RuleAt): FoundRule & { readonly text: string } {
  const write = async (change: (definition: ChainDefinition) => ChainDefinition): Promise<void> => {
    for (const [at, { family }] of families.entries()) {
      const definition = definitions[at];
      if (definition !== undefined) await nft.run(writeChains(family, [change(definition)]));
    }
  };
  const chain = definitions[0]?.name ?? "";
  return {
    kind: `${chain.replace(/^sticky-/, "").replace(/-\d+$/, "")}: ${chain.startsWith("scan-") ? "" : text.replaceAll(/set (0|numgen random mod \d+)|timeout \d+s/g, "…")}`,
    text,
    isAboutAffinity: /@affinity|remember-client/.test(text) || /^(scan|remember)-/.test(chain),
    remove: () => write((definition) => ({ ...definition, rules: definition.rules.toSpliced(index, 1) })),
    restore: () => write((definition) => definition),
  };
}

function definitionOf(name: string, options: LayoutOptions): ChainDefinition {
  const definition = fixedChains(options).find((chain) => chain.name === name) ?? dynamicChain(name, options);
  if (definition === undefined) throw new Error(`${name} is no chain of ours`);
  return definition;
}
