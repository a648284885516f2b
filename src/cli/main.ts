/** The composition root of the command line. The names of all commands stand in command-table.ts. */
import { fileURLToPath } from "node:url";

/** Programs of their own, started before anything else is loaded. The agent is no part of this one: it is found beside it by its URL. */
const isSource = import.meta.url.endsWith(".ts");

const [, , name] = process.argv;

if (name === "credential") {
  await import("./credential.ts");
} else if (name === "agent") {
  const agent = new URL(isSource ? "../agent/main.ts" : "./agent.js", import.meta.url);
  // The agent then reads its arguments as if it had been started by itself.
  process.argv.splice(1, 2, fileURLToPath(agent));
  await import(agent.href);
} else if (name === "demo") {
  const demo = new URL(isSource ? "./demo/main.ts" : "./demo.js", import.meta.url);
  process.argv.splice(1, 2, fileURLToPath(demo));
  await import(demo.href);
} else {
  const { runProcess } = await import("./process.ts");
  await runProcess(import.meta.url);
}
