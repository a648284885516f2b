/** `kubectl proxy` and `sallyport proxy` as programs, for tests that put the same to both. */
import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";

import { clusterFiles } from "#test/cluster/harness/cache.ts";
import { type CommandResult, runCommand, startCommand } from "#test/cluster/harness/command.ts";
import { LineReader } from "#test/cluster/harness/line-reader.ts";
import { toolEnvironment } from "#test/cluster/harness/tools.ts";

export const contenders = ["kubectl", "sallyport"] as const;
export type Contender = (typeof contenders)[number];

/** kubectl is the one that was built with the cluster, by Go 1.26: a redirect of it keeps the method (307), as kubectl 1.36's. */
const commands: Readonly<Record<Contender, readonly [string, ...string[]]>> = {
  kubectl: [clusterFiles.kube, "kubectl", "proxy"],
  sallyport: [process.execPath, "src/cli/main.ts", "proxy"],
};

export interface Question {
  readonly method?: string;
  readonly target: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly socketPath?: string;
}

export interface Observation {
  readonly status: number;
  readonly location: string | undefined;
  readonly contentType: string | undefined;
  readonly body: string;
}

/** A proxy that is running. */
export class RunningContender {
  readonly address: string;
  readonly #program: LineReader<string>;

  constructor(address: string, program: LineReader<string>) {
    this.address = address;
    this.#program = program;
  }

  get port(): number {
    return Number(/:(\d+)$/.exec(this.address)?.[1]);
  }

  get stderr(): string {
    return this.#program.stderr;
  }

  /** Sends a request and gives the head of its answer. */
  async open({ method = "GET", target, host, headers = {}, body, socketPath }: Question): Promise<IncomingMessage> {
    const place = socketPath === undefined ? { host: "127.0.0.1", port: this.port } : { socketPath };
    const sent = request({
      ...place,
      method,
      path: target,
      headers: { ...headers, ...(host === undefined ? {} : { host }) },
      agent: false,
    });
    sent.end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage]; // what Node's "response" event gives
    return answer;
  }

  async ask(question: Question): Promise<Observation> {
    const answer = await this.open(question);
    return {
      status: answer.statusCode ?? 0,
      location: answer.headers.location,
      contentType: answer.headers["content-type"],
      body: await text(answer),
    };
  }

  /** Sends bytes, then others once an answer has begun, and gives all that comes until the connection ends. */
  async converse(first: string, second: string): Promise<string> {
    const socket = connect(this.port, "127.0.0.1");
    socket.on("error", () => undefined); // told by what was read
    socket.write(first, "latin1");
    let received = "";
    for await (const chunk of socket.setEncoding("latin1")) {
      if (received === "") socket.write(second, "latin1");
      received += String(chunk);
    }
    return received;
  }

  async stop(): Promise<void> {
    await this.#program.stop();
  }
}

/** Starts one of the two and waits until it serves. */
export async function startContender(contender: Contender, kubeconfig: string, flags: readonly string[]): Promise<RunningContender> {
  const [program, ...first] = commands[contender];
  const reader = new LineReader(
    contender,
    startCommand(program, [...first, ...flags], { env: toolEnvironment(kubeconfig) }),
    (line) => line,
  );
  const line = await reader.waitFor((each) => each.startsWith("Starting to serve on "));
  return new RunningContender(line.slice("Starting to serve on ".length), reader);
}

/** Runs one of the two with flags that it ends at. */
export async function runContender(contender: Contender, kubeconfig: string, flags: readonly string[]): Promise<CommandResult> {
  const [program, ...first] = commands[contender];
  return runCommand(program, [...first, ...flags], { env: toolEnvironment(kubeconfig) });
}
