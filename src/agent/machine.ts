/** What the agent asks of its machine and of its own process. */
import { networkInterfaces } from "node:os";

/** The addresses of this machine's interfaces. */
export function machineAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}

/** What this process has used so far, and holds. */
export function processUsage(): { readonly cpuSeconds: number; readonly residentBytes: number } {
  const { user, system } = process.cpuUsage();
  return { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() };
}
