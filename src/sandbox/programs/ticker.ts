/** `ticker:1`: one log line each second (or each N seconds, its first argument), with a warning on stderr every tenth. */
import type { Host } from "./host.ts";

/** Prints until it is told to stop. */
export async function ticker(host: Host): Promise<number> {
  const seconds = Number(host.start.argv[0] ?? 1);
  const intervalMs = Number.isFinite(seconds) && seconds >= 0.01 ? seconds * 1000 : 1000;
  process.stdout.write(`ticker: started on ${host.start.hostname}, one line each ${intervalMs / 1000} s\n`);
  return new Promise((resolve) => {
    let count = 0;
    setInterval(() => {
      count += 1;
      process.stdout.write(`tick ${count}\n`);
      if (count % 10 === 0) process.stderr.write(`ticker: ${count} ticks so far\n`);
    }, intervalMs);
    process.once("SIGTERM", () => {
      process.stdout.write("ticker: asked to stop\n");
      resolve(0);
    });
  });
}
