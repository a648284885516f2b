/**
 * The bundles that are shipped: the command line (which is the agent too), the credential plugin that kubectl starts at every command,
 * and the gateway for a workerd of one's own. Cloudflare's bundle is made by wrangler from the same workers/main.ts.
 */
import { defineConfig } from "rolldown";

/** Native speed-ups that ws looks for and does without. */
const optionalNative = ["bufferutil", "utf-8-validate"];

export const commandLine = defineConfig({
  input: { sallyport: "src/cli/main.ts", "sallyport-credential": "src/cli/credential.ts", agent: "src/agent/main.ts" },
  platform: "node",
  external: optionalNative,
  output: {
    dir: "dist",
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "chunks/[name].js",
    // The programs that package.json names in "bin".
    banner: (chunk) => (chunk.isEntry && chunk.name.startsWith("sallyport") ? "#!/usr/bin/env node" : ""),
  },
});

/** The demo and the programs that it starts, each in one file: the sandbox's pods may read no other. */
const demoPrograms = Object.entries({
  demo: "src/cli/demo/main.ts",
  "demo-issuer": "src/cli/demo/issuer-main.ts",
  sandbox: "src/sandbox/main.ts",
  "sandbox-program": "src/sandbox/programs/main.ts",
}).map(([name, entry]) =>
  defineConfig({
    input: { [name]: entry },
    platform: "node",
    external: [...optionalNative, "rolldown"],
    output: { dir: "dist", format: "esm", entryFileNames: "[name].js", codeSplitting: false },
  }),
);

export const gateway = defineConfig({
  input: { main: "workers/main.ts" },
  platform: "neutral",
  external: [/^cloudflare:/],
  resolve: { conditionNames: ["workerd", "worker", "browser", "import", "default"], mainFields: ["module", "main"] },
  output: { dir: "dist/worker", format: "esm", entryFileNames: "[name].js", codeSplitting: false },
});

export default [commandLine, ...demoPrograms, gateway];
