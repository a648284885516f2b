/**
 * Every kind of test that needs nothing but Node. Code that runs in both runtimes is tested in both: test/core and test/identity run in
 * Node and again inside workerd; a file named *.node.test.ts there needs Node (it reads files) and runs only in Node.
 * The tests on a real cluster have a configuration of their own, vitest.cluster.config.ts.
 */
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** Fits the newest date that the workerd of the test plugin knows; wrangler.toml has the date that production uses. */
const workerdCompatibilityDate = "2026-11-01";
/** Starting workerd or a child process on a busy two-core machine takes seconds, not milliseconds. */
const systemTimeoutMs = 60_000;
/** Files named *.slow.test.ts wait for minutes that are the point of their tests. */
const slowTimeoutMs = 300_000;

export default defineConfig({
  test: {
    projects: [
      inNode("core"),
      inWorkerd("core"),
      inNode("identity"),
      inWorkerd("identity"),
      inNode("agent"),
      inNode("cli"),
      inNode("sandbox"),
      inNode("scripts"),
      worker(),
      inNode("system", { timeoutMs: systemTimeoutMs, globalSetup: ["test/support/worker-bundle.ts"], exclude: ["**/*.slow.test.ts"] }),
      inNode("system", {
        name: "slow",
        include: ["test/system/**/*.slow.test.ts"],
        timeoutMs: slowTimeoutMs,
        globalSetup: ["test/support/worker-bundle.ts"],
      }),
    ],
  },
});

interface NodeProject {
  readonly name?: string;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly timeoutMs?: number;
  readonly globalSetup?: string[];
}

function inNode(area: string, options: NodeProject = {}): TestProjectInlineConfiguration {
  const { name = area, include = [`test/${area}/**/*.test.ts`], exclude = [], timeoutMs = 15_000, globalSetup = [] } = options;
  return {
    test: { name, include, exclude, environment: "node", globalSetup, testTimeout: timeoutMs, hookTimeout: timeoutMs },
  };
}

function inWorkerd(area: string): TestProjectInlineConfiguration {
  return {
    plugins: [cloudflareTest({ miniflare: { compatibilityDate: workerdCompatibilityDate } })],
    test: {
      name: `${area} in workerd`,
      include: [`test/${area}/**/*.test.ts`],
      exclude: ["**/*.node.test.ts"],
      testTimeout: 30_000,
    },
  };
}

function worker(): TestProjectInlineConfiguration {
  return {
    plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.toml" } })],
    test: { name: "workers", include: ["test/workers/**/*.test.ts"], testTimeout: 30_000 },
  };
}
