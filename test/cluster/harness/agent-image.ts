/** The agent's container image, made from this working tree as it is shipped. */
import path from "node:path";

import { mustRun } from "./command.ts";

export interface AgentImage {
  /** Name to use in manifests; it is never pulled. */
  readonly name: string;
  /** Archive for `Cluster.importImage`. */
  readonly archive: string;
}

const repository = path.resolve(import.meta.dirname, "../../..");

/** Bundles the agent and makes its image in a folder. */
export async function buildAgentImage(folder: string): Promise<AgentImage> {
  const name = "docker.io/sallyport/agent:test";
  const archive = path.join(folder, "agent.tar");
  await mustRun(path.join(repository, "node_modules/.bin/rolldown"), ["--config", "rolldown.config.ts"], { cwd: repository });
  await mustRun(path.join(repository, "infra/image/build.sh"), [archive, name]);
  return { name, archive };
}
