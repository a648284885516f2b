/** The test's end of a program in a network namespace. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";

import { startCommand } from "../harness/command.ts";

export interface ProbeTarget {
  readonly protocol: "TCP" | "UDP";
  readonly address: string;
  readonly port: number;
  /** The client's own address; undefined: as the kernel chooses. */
  readonly source: string | undefined;
}

export type ProbeOutcome =
  /** `endpoint` answered, and saw `client` as the client's address. */
  | { readonly type: "answered"; readonly endpoint: string; readonly client: string }
  | { readonly type: "refused" }
  | { readonly type: "failed"; readonly code: string }
  /** Nothing had come back when the test or the client's kernel gave up. */
  | { readonly type: "dropped" };

export type PeerQuestion = { readonly id: number } & PeerRequest;
type PeerRequest =
  | { readonly type: "serve"; readonly address: string; readonly port: number }
  | { readonly type: "forward"; readonly port: number; readonly path: string }
  | { readonly type: "probe"; readonly target: ProbeTarget }
  | { readonly type: "countSecondSyns" }
  | { readonly type: "giveUp" };
export type PeerAnswer =
  | { readonly id: number; readonly type: "done" }
  | { readonly id: number; readonly type: "failed"; readonly message: string }
  | { readonly id: number; readonly type: "counted"; readonly count: number }
  | { readonly id: number; readonly type: "probed"; readonly outcome: ProbeOutcome };

/** A program in a network namespace that serves and connects. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: PeerAnswer) => void>();
  #lastId = 0;

  constructor(namespace: string) {
    const program = path.join(import.meta.dirname, "peer", "main.ts");
    this.#child = startCommand("ip", ["netns", "exec", namespace, process.execPath, program]);
    if (this.#child.stdout === null) throw new Error("a child with a pipe has an output");
    this.#child.stderr?.on("data", (chunk: Buffer) => process.stderr.write(chunk));
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      // Written by peer/main.ts.
      const answer = JSON.parse(line) as PeerAnswer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  async serve(address: string, port: number): Promise<void> {
    await this.#ask({ type: "serve", address, port });
  }

  async forward(port: number, socketPath: string): Promise<void> {
    await this.#ask({ type: "forward", port, path: socketPath });
  }

  async probe(target: ProbeTarget): Promise<ProbeOutcome> {
    const answer = await this.#ask({ type: "probe", target });
    if (answer.type !== "probed") throw new Error("a probe was not answered as one");
    return answer.outcome;
  }

  /** How many times a connection from here had to be asked for again. */
  async countSecondSyns(): Promise<number> {
    const answer = await this.#ask({ type: "countSecondSyns" });
    if (answer.type !== "counted") throw new Error("a count was not answered as one");
    return answer.count;
  }

  /** Every probe that is still open ends as dropped. */
  async giveUp(): Promise<void> {
    await this.#ask({ type: "giveUp" });
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  async #ask(request: PeerRequest): Promise<PeerAnswer> {
    this.#lastId += 1;
    const id = this.#lastId;
    const given = Promise.withResolvers<PeerAnswer>();
    this.#waiting.set(id, given.resolve);
    this.#child.stdin?.write(`${JSON.stringify({ id, ...request })}\n`);
    const answer = await given.promise;
    if (answer.type === "failed") throw new Error(answer.message);
    return answer;
  }
}
