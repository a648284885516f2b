/**
 * Connects as a client of a Service does, one connection at a time. A line of JSON on its standard input asks for one measure and is
 * answered with a line of figures; times are microseconds of the machine's monotonic clock.
 */
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

export type Question =
  /** Connects until this endpoint has answered: `atUs`. */
  | { readonly type: "until"; readonly address: string; readonly port: number; readonly endpoint: string }
  /** Connects to each address until it is answered by any endpoint: `atUs` of the last. */
  | { readonly type: "all"; readonly addresses: readonly string[]; readonly port: number }
  /** Makes so many connections: from the first packet to the answer, `p50Us`, `p99Us`. */
  | { readonly type: "connects"; readonly address: string; readonly port: number; readonly count: number };

/** The time between two tries, which is how fine a time "until" is. */
const pauseMs = 1;
/** A try that meets no rules yet is not answered at all; the kernel would repeat its packet after a second. */
const tryTimeoutMs = 20;
const connectTimeoutMs = 1_000;

process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  // The bench is the only one who asks.
  const question = JSON.parse(line) as Question;
  process.stdout.write(`${JSON.stringify(await answer(question))}\n`);
}

async function answer(question: Question): Promise<Readonly<Record<string, number>>> {
  switch (question.type) {
    case "until":
      return { atUs: await connectUntil(question.address, question.port, (endpoint) => endpoint === question.endpoint) };
    case "all": {
      let atUs = nowUs();
      for (const address of question.addresses) atUs = await connectUntil(address, question.port, (endpoint) => endpoint !== undefined);
      return { atUs };
    }
    case "connects":
      return measureConnects(question.address, question.port, question.count);
  }
}

async function connectUntil(address: string, port: number, isWanted: (endpoint: string | undefined) => boolean): Promise<number> {
  while (!isWanted(await reach(address, port, tryTimeoutMs))) await delay(pauseMs);
  return nowUs();
}

async function measureConnects(address: string, port: number, count: number): Promise<Readonly<Record<string, number>>> {
  const times: number[] = [];
  for (let number = 0; number < count; number++) {
    const startUs = nowUs();
    if ((await reach(address, port, connectTimeoutMs)) === undefined) throw new Error(`${address}:${port} does not answer`);
    times.push(nowUs() - startUs);
  }
  const sorted = times.toSorted((one, other) => one - other);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { p50Us: at(0.5), p99Us: at(0.99) };
}

/** The endpoint that answers a new connection; undefined where none does. The connection is reset, so that no port waits for its end. */
async function reach(address: string, port: number, timeoutMs: number): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect({ host: address, port, noDelay: true });
  socket.setTimeout(timeoutMs, () => resolve(undefined));
  socket.once("error", () => resolve(undefined));
  socket.once("close", () => resolve(undefined));
  socket.once("data", (data: Buffer) => resolve(data.toString("utf8").trim()));
  const endpoint = await promise;
  socket.resetAndDestroy();
  return endpoint;
}

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
