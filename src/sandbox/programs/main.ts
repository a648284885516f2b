/** The entry of every container process: waits for what to run, runs it, and ends with its exit code or with its parent. */
import { crasher } from "./crasher.ts";
import { Host } from "./host.ts";
import type { ProgramStart, ToProgram } from "./messages.ts";
import { ticker } from "./ticker.ts";
import { toybox } from "./toybox.ts";
import { web } from "./web.ts";

const programs: Readonly<Record<string, (host: Host) => Promise<number>>> = { crasher, ticker, toybox, web };

process.once("message", (message: ToProgram) => {
  if (message.type === "start") void run(message);
});
process.once("disconnect", () => process.exit(137)); // the sandbox is gone
process.stdout.on("error", () => process.exit(141)); // nobody reads any more

async function run(start: ProgramStart): Promise<void> {
  const host = new Host(start);
  const program = programs[start.program];
  if (program === undefined) throw new Error(`no program ${start.program}`);
  const code = await program(host);
  await host.flush();
  process.exit(code);
}
