/** The platform's limit: what a Worker and a Durable Object carry between two Node WebSockets, both over TLS, in messages of the tunnel's size. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { certify } from "./contenders.ts";
import { startProgram } from "./program.ts";
import type { Figures } from "./program.ts";
import { startWorker } from "./workerd.ts";

export interface Relay {
  /** MB/s one way, and round trips in milliseconds. */
  measure(bytes: number): Promise<Figures>;
  stop(): Promise<void>;
}

export async function startRelay(parent: string): Promise<Relay> {
  const folder = join(parent, "relay");
  await mkdir(folder);
  const certified = await certify(folder);
  const worker = await startWorker({ folder: join(folder, "worker"), script: "relay.js", certified, variables: {}, trusted: [] });
  const script = fileURLToPath(new URL("relay-peer.ts", import.meta.url));
  const peer = (role: string) => startProgram(process.execPath, [script, role, `wss://localhost:${worker.port}/`, join(folder, "ca.crt")]);
  const source = await peer("source");
  const sink = await peer("sink");
  return {
    measure: async (bytes) => {
      const { rate } = await sink.next(`transfer ${bytes}`);
      const { p50 } = await sink.next("trip 300");
      return { rate: rate ?? Number.NaN, "round trip p50": p50 ?? Number.NaN };
    },
    stop: async () => {
      await sink.stop();
      await source.stop();
      await worker.stop();
    },
  };
}
