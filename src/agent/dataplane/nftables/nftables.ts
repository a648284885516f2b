/** The nftables dataplane: a table of its own for each family, changed through the program `nft`. */
import type { ApplyOutcome, Dataplane, IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { FamilyTable } from "./family-table.ts";
import { type Nft, NftError } from "./nft.ts";

export interface NftablesOptions {
  readonly nft: Nft;
  /** The families that this machine has; tables of others are left alone. */
  readonly families: readonly IpFamily[];
  /** KubeProxyConfiguration `nftables.masqueradeBit`: 0 to 31. */
  readonly masqueradeBit: number;
}

/** Makes the dataplane. `probeNftables` says first whether it can work. */
export function createNftablesDataplane({ nft, families, masqueradeBit }: NftablesOptions): Dataplane {
  const tables = new Map(families.map((family) => [family, new FamilyTable(family, nft, masqueradeBit)]));
  const withTable = async (table: ServiceTable, work: (own: FamilyTable) => Promise<number>): Promise<ApplyOutcome> => {
    const own = tables.get(table.family);
    if (own === undefined) return { type: "failed", message: `this node has no ${table.family}` };
    try {
      return { type: "applied", changes: await work(own) };
    } catch (error) {
      if (!(error instanceof NftError)) throw error;
      return { type: "failed", message: error.message };
    }
  };
  return {
    name: "nftables",
    apply: (table) => withTable(table, (own) => own.apply(table)),
    verify: (table) => withTable(table, (own) => own.verify(table)),
    close: () => Promise.resolve(),
    cleanup: async () => {
      for (const table of tables.values()) await table.remove();
    },
  };
}
