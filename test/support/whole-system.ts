/** One gateway, one cluster with its agent, and one scripted apiserver for all tests of a file; the script starts afresh for each test. */
import { afterAll, beforeAll, beforeEach } from "vitest";
import { join } from "node:path";
import { startScriptedApiserver } from "./scripted-apiserver.ts";
import type { ScriptedApiserver } from "./scripted-apiserver.ts";
import { startGateway } from "./system.ts";
import type { AgentFixture, ClusterFixture, ClusterOptions, GatewayFixture } from "./system.ts";
import { gatewayBundle } from "./worker-bundle.ts";

export interface WholeSystem {
  readonly gateway: GatewayFixture;
  readonly cluster: ClusterFixture;
  readonly agent: AgentFixture;
  readonly apiserver: ScriptedApiserver;
}

export interface WholeSystemOptions {
  readonly cluster?: Partial<ClusterOptions>;
  readonly agentArguments?: readonly string[];
  readonly agentProgram?: string;
  readonly variables?: Readonly<Record<string, string>>;
}

/** Registers the hooks that start and stop it; what it returns may be used inside tests and later hooks. */
export function useWholeSystem(options: WholeSystemOptions = {}): WholeSystem {
  let running: WholeSystem | undefined;
  const system = (): WholeSystem => {
    if (running === undefined) throw new Error("the system has not started");
    return running;
  };
  beforeAll(async () => {
    const apiserver = await startScriptedApiserver();
    const gateway = await startGateway({ bundle: gatewayBundle, variables: options.variables ?? {} });
    const cluster = await gateway.register({ name: "one", ...options.cluster });
    const kubeconfig = await apiserver.kubeconfig(join(gateway.folder, "kubeconfig"));
    const agent = await cluster.startAgent({
      kubeconfig,
      arguments: options.agentArguments ?? [],
      ...(options.agentProgram !== undefined && { program: options.agentProgram }),
    });
    running = { gateway, cluster, agent, apiserver };
  });
  beforeEach(() => system().apiserver.reset());
  afterAll(async () => {
    const { agent, gateway, apiserver } = system();
    await apiserver.stop();
    await agent.stop("SIGKILL");
    await gateway.stop();
  });
  return {
    get gateway() {
      return system().gateway;
    },
    get cluster() {
      return system().cluster;
    },
    get agent() {
      return system().agent;
    },
    get apiserver() {
      return system().apiserver;
    },
  };
}
