/** The client-go informer of test/cluster/informer, built once for each version of its source. */
import path from "node:path";

import { startCommand } from "./command.ts";
import { buildGoProgram } from "./go-program.ts";
import { LineReader } from "./line-reader.ts";
import { toolEnvironment } from "./tools.ts";

const sourceFolder = path.resolve(import.meta.dirname, "../informer");

/** What the informer prints: see its source. */
export interface InformerLine {
  readonly type: "synced" | "added" | "updated" | "deleted" | "error" | "cache";
  readonly name?: string;
  readonly resourceVersion?: string;
  readonly number?: string;
  readonly items?: Readonly<Record<string, string>>;
  readonly error?: string;
}

/** Starts an informer on the ConfigMaps of a namespace. `say("cache")` asks for its cache, `finish()` for the last one. */
export async function startInformer(kubeconfig: string, namespace: string): Promise<LineReader<InformerLine>> {
  const program = await buildGoProgram("informer", sourceFolder);
  const child = startCommand(program, ["-kubeconfig", kubeconfig, "-namespace", namespace], { env: toolEnvironment(kubeconfig) });
  // The program is ours and prints nothing else.
  return new LineReader("informer", child, (text) => JSON.parse(text) as InformerLine);
}
