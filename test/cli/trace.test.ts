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
async function runTrace(args: readonly string[], agentCode = 0): Promise<{ readonly exitCode: number; readonly agent: readonly string[] }> {
  const agent: string[] = [];
  const { exitCode } = await bench.run(["trace", "service", ...args], {
    runAgent: async (given) => {
      agent.push(...given);
      return agentCode;
    },
  });
  return { exitCode, agent };
}

describe("sallyport trace service", () => {
  it("starts the agent for one answer, with the kubeconfig that kubectl would use", async () => {
    expect(await runTrace(["shop/web:http", "--node", "node-1"])).toEqual({
      exitCode: 0,
      agent: ["--roles=service-proxy", "--trace=shop/web:http", "--node=node-1", `--kubeconfig=${join(bench.home, ".kube", "config")}`],
    });
  });

  it("hands on what it is given", async () => {
    const flags = ["--config", "/c", "--kubeconfig", "/k", "--context", "x", "--service-proxy-name", "mine"];
    const strict = ["--connections", "--strict", "--load-balancer-range", "192.0.2.0/24", "--load-balancer-range", "2001:db8::/32"];
    const { agent } = await runTrace(["shop/web", ...flags, ...strict]);
    const wanted = ["--config=/c", "--kubeconfig=/k", "--context=x", "--service-proxy-name=mine", "--connections", "--strict"];
    wanted.push("--load-balancer-range=192.0.2.0/24", "--load-balancer-range=2001:db8::/32");
    expect(agent).toEqual(["--roles=service-proxy", "--trace=shop/web", ...wanted]);
  });

  it("ends with the agent's exit code", async () => {
    expect((await runTrace(["web"], 2)).exitCode).toBe(2);
  });

  it("needs a Service", async () => {
    expect(await runTrace([])).toEqual({ exitCode: 2, agent: [] });
  });
});
