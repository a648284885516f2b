/** The agent's container images, made from this working tree as it is shipped. */
import path from "node:path";

import { mustRun } from "./command.ts";

export interface AgentImage {
  /** Name to use in manifests; it is never pulled. */
  readonly name: string;
  /** Archive for `Cluster.importImage`. */
  readonly archive: string;
}

const repository = path.resolve(import.meta.dirname, "../../..");

/** Each image, and the programs in it beside Node. */
const programs = { agent: [], "service-proxy": ["nft", "conntrack"] } as const;

/** Bundles the agent and makes an image of it in a folder. */
export async function buildAgentImage(folder: string, image: keyof typeof programs = "agent"): Promise<AgentImage> {
  const name = `docker.io/sallyport/${image}:test`;
  const archive = path.join(folder, `${image}.tar`);
  await mustRun(path.join(repository, "node_modules/.bin/rolldown"), ["--config", "rolldown.config.ts"], { cwd: repository });
  await mustRun(path.join(repository, "infra/image/build.sh"), [archive, name, ...programs[image]]);
  return { name, archive };
}
