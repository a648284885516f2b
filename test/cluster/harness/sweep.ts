/** `node test/cluster/harness/sweep.ts` removes what killed test runs have left on this machine. */
import { removeAbandonedClusters } from "./leftovers.ts";

const removed = await removeAbandonedClusters();
if (removed > 0) console.error(`removed ${removed} abandoned test clusters`);
