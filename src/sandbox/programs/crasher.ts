/** `crasher:1`: prints two lines and fails, to show restarts, `logs --previous` and CrashLoopBackOff. */
import type { Host } from "./host.ts";

/** Fails after a moment with the exit code of its first argument, 1 without. */
export async function crasher(host: Host): Promise<number> {
  process.stdout.write("crasher: starting\n");
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, 300);
  process.once("SIGTERM", resolve);
  await promise;
  process.stderr.write("crasher: fatal: this program always fails\n");
  const code = Number(host.start.argv[0] ?? 1);
  return Number.isInteger(code) && code > 0 && code < 256 ? code : 1;
}
