/** Comparing the addresses of apiservers. */
import type { ApiserverAddress } from "./upstream.ts";

/** Whether two are one server, reached and verified alike. */
export function sameAddress(a: ApiserverAddress, b: ApiserverAddress): boolean {
  return a.url === b.url && a.ca === b.ca && a.serverName === b.serverName && (a.lastResort ?? false) === (b.lastResort ?? false);
}
