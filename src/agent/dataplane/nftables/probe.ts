/** Whether this machine can have our table, tried before anything depends on it. */
import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import { balancingChain, dynamicChain, rememberingChain, scanningChain, type Treatment } from "./balancing.ts";
import { fixedChains, type LayoutOptions } from "./layout.ts";
import { type Nft, NftError } from "./nft.ts";
import { createTable, deleteTable, writeChains } from "./script.ts";

export type NftablesProbe =
  | { readonly type: "usable"; readonly version: string }
  /** `message` says what is missing and what to do. */
  | { readonly type: "unusable"; readonly message: string };

/** Before 1.0.1, nft reads every table of the machine at each start, and fails on what newer programs wrote there. */
const oldestVersion = [1, 0, 1] as const;
const treatments: readonly Treatment[] = ["internal", "external", "local", "inside", "node-external", "node-local", "node-inside"];

/** Lets the kernel look at the whole table with a chain of every kind, without making it. */
export async function probeNftables(nft: Nft, families: readonly IpFamily[], masqueradeBit: number): Promise<NftablesProbe> {
  try {
    const version = await nft.version();
    if (!isNewEnough(version)) {
      return {
        type: "unusable",
        message: `${version} is too old: the nftables dataplane needs nft ${oldestVersion.join(".")} or later in PATH`,
      };
    }
    for (const family of families) await nft.check(sampleTable(family, masqueradeBit));
    return { type: "usable", version };
  } catch (error) {
    if (!(error instanceof NftError)) throw error;
    const help =
      "it needs the program nft, a kernel of 5.13 or later with nf_tables, nft_nat, nft_masq, nft_fib and nft_numgen, and CAP_NET_ADMIN";
    return { type: "unusable", message: `the nftables dataplane does not work here (${help}): ${error.message}` };
  }
}

function sampleTable(family: IpFamily, masqueradeBit: number): string {
  const options: LayoutOptions = {
    family,
    localDetection: { type: "cidrs", cidrs: [family === "IPv4" ? "10.0.0.0/8" : "fd00::/8"] },
    masqueradeAll: false,
    nodePorts: "all",
    masqueradeBit,
  };
  const names = treatments.flatMap((treatment) => [balancingChain(treatment, false, 2), balancingChain(treatment, true, 2)]);
  const dynamic = [...names, rememberingChain(1), scanningChain(2)]
    .map((name) => dynamicChain(name, options))
    .filter((chain) => chain !== undefined);
  // `nft -c` takes nothing into effect, so a table that is there stays as it is, even one of another layout.
  return [deleteTable(family), createTable(family), writeChains(family, [...dynamic, ...fixedChains(options)])].join("\n");
}

function isNewEnough(version: string): boolean {
  const found = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (found === undefined) return false;
  const index = oldestVersion.findIndex((number, at) => number !== found[at]);
  return index === -1 || (found[index] ?? 0) > (oldestVersion[index] ?? 0);
}
