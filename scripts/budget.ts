/**
 * Builds the bundles and holds them to their budgets: the bytes that a start has to read, and packages that must not be in them.
 * The credential plugin is started by kubectl at every command, so what it loads is paid for all day.
 */
import path from "node:path";
import { gzipSync } from "node:zlib";

import { rolldown, type OutputAsset, type OutputChunk, type OutputOptions, type RolldownOptions } from "rolldown";

import { commandLine, gateway } from "../rolldown.config.ts";

interface Budget {
  readonly bundle: RolldownOptions;
  readonly entry: string;
  /** Compressed bytes of the entry and of everything that it imports before it runs. */
  readonly maxGzipBytes: number;
  /** Packages that must not be among them, and specifiers that must not be imported. */
  readonly forbiddenPackages: readonly string[];
  /** Texts that would show that such a package came in under another name. */
  readonly forbiddenWords: readonly string[];
}

const kibibyte = 1024;
const budgets: readonly Budget[] = [
  {
    bundle: commandLine,
    entry: "sallyport-credential.js",
    // The token cache, its lock and the renewal of a session take 15 KiB; a package would not fit.
    maxGzipBytes: 20 * kibibyte,
    forbiddenPackages: [
      "@kubernetes/client-node",
      "hono",
      "wrangler",
      "workerd",
      "oauth4webapi",
      "jose",
      "ws",
      "undici",
      "yaml",
      "@stricli/core",
    ],
    forbiddenWords: ["KubeConfig", "hono", "wrangler"],
  },
  {
    bundle: commandLine,
    entry: "sallyport.js",
    // It looks which program is meant, and loads that one.
    maxGzipBytes: 4 * kibibyte,
    forbiddenPackages: ["@kubernetes/client-node", "hono", "wrangler", "workerd", "jose", "ws", "undici", "@marcbachmann/cel-js"],
    forbiddenWords: [],
  },
  {
    bundle: commandLine,
    entry: "agent.js",
    // Half of it is undici. It is read once in a pod's life, so what counts is what is missing: no Kubernetes client, no gateway.
    maxGzipBytes: 640 * kibibyte,
    forbiddenPackages: ["@kubernetes/client-node", "hono", "wrangler", "workerd", "oauth4webapi", "@stricli/core"],
    forbiddenWords: [],
  },
  {
    bundle: gateway,
    entry: "main.js",
    // Cloudflare takes 10 MiB; what this keeps short is the start, which a cold request waits for. CEL and YAML are half of it.
    maxGzipBytes: 240 * kibibyte,
    forbiddenPackages: ["@kubernetes/client-node", "undici", "ws", "wrangler", "@stricli/core", "hono/jwt", "node:"],
    forbiddenWords: ["KUBERNETES_SERVICE_HOST"],
  },
];

const built = new Map<RolldownOptions, readonly OutputChunk[]>();
let broken = 0;
for (const budget of budgets) {
  const chunks = built.get(budget.bundle) ?? (await build(budget.bundle));
  built.set(budget.bundle, chunks);
  const start = startChunks(chunks, budget.entry);
  const faults = faultsOf(budget, start);
  const size = gzipSize(start);
  console.log(`${budget.entry.padEnd(26)} ${inKibibytes(size)} of ${inKibibytes(budget.maxGzipBytes)} at start (gzip)`);
  for (const fault of faults) console.error(`  ${fault}`);
  broken += faults.length;
}
process.exitCode = broken === 0 ? 0 : 1;

async function build(options: RolldownOptions): Promise<readonly OutputChunk[]> {
  const bundle = await rolldown(options);
  // The configuration gives each bundle one output.
  const { output } = await bundle.write(options.output as OutputOptions);
  await bundle.close();
  return output.filter(isChunk);
}

function isChunk(item: OutputChunk | OutputAsset): item is OutputChunk {
  return item.type === "chunk";
}

/** The entry and all that it imports statically: what runs before its first line. */
function startChunks(chunks: readonly OutputChunk[], entry: string): readonly OutputChunk[] {
  const byName = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  const names = new Set([entry]);
  for (const name of names) for (const imported of byName.get(name)?.imports ?? []) names.add(imported);
  return [...names].map((name) => byName.get(name)).filter((chunk) => chunk !== undefined);
}

function faultsOf(budget: Budget, start: readonly OutputChunk[]): readonly string[] {
  if (start.length === 0) return [`${budget.entry} was not built`];
  const size = gzipSize(start);
  const code = start.map((chunk) => chunk.code).join("\n");
  const faults = size > budget.maxGzipBytes ? [`${budget.entry}: ${inKibibytes(size)} are over the budget`] : [];
  const sources = new Set([...start.flatMap((chunk) => chunk.moduleIds), ...start.flatMap((chunk) => chunk.imports)]);
  for (const name of budget.forbiddenPackages) {
    const source = [...sources].find((id) => id.includes(`node_modules/${name}/`) || id.startsWith(name));
    if (source !== undefined) faults.push(`${budget.entry} loads ${name} (${path.relative(process.cwd(), source)})`);
  }
  for (const word of budget.forbiddenWords) {
    if (code.includes(word)) faults.push(`${budget.entry} contains the word ${word}`);
  }
  return faults;
}

function gzipSize(chunks: readonly OutputChunk[]): number {
  return chunks.reduce((sum, chunk) => sum + gzipSync(chunk.code).byteLength, 0);
}

function inKibibytes(bytes: number): string {
  return `${(bytes / kibibyte).toFixed(1)} KiB`;
}
