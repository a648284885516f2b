import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench } from "./support/command-run.ts";

let bench: CommandBench;

beforeEach(async () => {
  bench = await makeBench();
});
afterEach(() => bench.remove());

/** Runs the command with an agent that ends with a code; answers what the agent was started with. */
async function runPlan(args: readonly string[], agentCode = 0): Promise<{ readonly exitCode: number; readonly agent: readonly string[] }> {
  const agent: string[] = [];
  const { exitCode } = await bench.run(["load-balancer", "plan", ...args], {
    runAgent: async (given) => {
      agent.push(...given);
      return agentCode;
    },
  });
  return { exitCode, agent };
}

describe("sallyport load-balancer plan", () => {
  it("starts the agent for one answer that changes nothing, with the kubeconfig that kubectl would use", async () => {
    expect(await runPlan([])).toEqual({
      exitCode: 0,
      agent: ["--roles=load-balancer", "--dry-run", `--kubeconfig=${join(bench.home, ".kube", "config")}`],
    });
  });

  it("hands on what it is given", async () => {
    const flags = ["--kubeconfig", "/k", "--context", "x", "--driver", "node-ip", "--class", "example.com/a", "--default-class"];
    const nodes = ["--node-readiness", "ignore", "--node-selector", "a=b", "--node-addresses", "all", "--reserved-ports", "22"];
    const { agent } = await runPlan([...flags, ...nodes]);
    expect(agent).toEqual([
      ...["--roles=load-balancer", "--dry-run", "--kubeconfig=/k", "--context=x", "--driver=node-ip", "--class=example.com/a"],
      ...["--node-readiness=ignore", "--node-selector=a=b", "--node-addresses=all", "--reserved-ports=22", "--default-class"],
    ]);
  });

  it("ends with the agent's exit code", async () => {
    expect((await runPlan([], 2)).exitCode).toBe(2);
  });
});
