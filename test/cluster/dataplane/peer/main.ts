/**
 * A program that lives in one network namespace of a test world: it serves endpoints and makes connections, as told in lines of JSON on
 * its standard input. It never decides that something took too long: whoever asks says when to give up.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, isIPv6, type Socket } from "node:net";
import { createInterface } from "node:readline";

import type { PeerAnswer, PeerQuestion, ProbeOutcome, ProbeTarget } from "#test/cluster/dataplane/peer.ts";

/** Ends everything that is still waiting. */
const open = new Set<() => void>();

for await (const line of createInterface({ input: process.stdin })) {
  // Written by peer.ts.
  const question = JSON.parse(line) as PeerQuestion;
  void answer(question).catch((error: unknown) => say({ id: question.id, type: "failed", message: String(error) }));
}

async function answer(question: PeerQuestion): Promise<void> {
  const { id } = question;
  switch (question.type) {
    case "serve":
      await serve(question.address, question.port);
      return say({ id, type: "done" });
    case "forward":
      await forward(question.port, question.path);
      return say({ id, type: "done" });
    case "probe":
      return say({ id, type: "probed", outcome: await probe(question.target) });
    case "countSecondSyns":
      return say({ id, type: "counted", count: secondSyns() });
    case "giveUp":
      for (const end of open) end();
      return say({ id, type: "done" });
  }
}

function say(message: PeerAnswer): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Answers every connection and datagram with the endpoint's own address and the client's, as it is seen here. */
async function serve(address: string, port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(`${address} ${socket.remoteAddress}`);
  });
  server.listen({ host: address, port, backlog: 1024 });
  await once(server, "listening");
  const datagrams = createSocket(isIPv6(address) ? "udp6" : "udp4");
  datagrams.on("message", (_, from) => datagrams.send(`${address} ${from.address}`, from.port, from.address));
  datagrams.bind(port, address);
  await once(datagrams, "listening");
}

/** Carries connections to a loopback port here to a Unix socket, which other network namespaces reach too. */
async function forward(port: number, path: string): Promise<void> {
  const server = createServer((socket) => {
    const upstream = connect(path);
    for (const end of [socket, upstream]) end.on("error", () => [socket, upstream].forEach((other) => other.destroy()));
    socket.pipe(upstream);
    upstream.pipe(socket);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

/** How many SYNs this network namespace has sent again (TcpExt in /proc/net/netstat: a line of names, then one of numbers). */
function secondSyns(): number {
  const [names = [], numbers = []] = readFileSync("/proc/self/net/netstat", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  return Number(numbers[names.indexOf("TCPSynRetrans")]);
}

async function probe(target: ProbeTarget): Promise<ProbeOutcome> {
  const given = Promise.withResolvers<ProbeOutcome>();
  const end = (): void => given.resolve({ type: "dropped" });
  const close = target.protocol === "TCP" ? probeTcp(target, given.resolve) : probeUdp(target, given.resolve);
  open.add(end);
  try {
    return await given.promise;
  } finally {
    open.delete(end);
    close();
  }
}

type Resolve = (outcome: ProbeOutcome) => void;

function probeTcp({ address, port, source }: ProbeTarget, resolve: Resolve): () => void {
  const socket: Socket = connect({ host: address, port, ...(source === undefined ? {} : { localAddress: source }) });
  socket.on("data", (data) => resolve(toOutcome(data.toString())));
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(toFailure(error)));
  // A reset leaves no TIME_WAIT behind, of which thousands would use up the ports.
  return () => socket.resetAndDestroy();
}

function probeUdp({ address, port, source }: ProbeTarget, resolve: Resolve): () => void {
  const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
  socket.on("message", (data) => resolve(toOutcome(data.toString())));
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(toFailure(error)));
  socket.bind({ port: 0, ...(source === undefined ? {} : { address: source }) }, () => socket.connect(port, address));
  socket.on("connect", () => socket.send("?"));
  return () => socket.close();
}

function toOutcome(text: string): ProbeOutcome {
  const [endpoint = "", client = ""] = text.split(" ");
  return { type: "answered", endpoint, client };
}

function toFailure({ code }: NodeJS.ErrnoException): ProbeOutcome {
  if (code === "ECONNREFUSED") return { type: "refused" };
  return code === "ETIMEDOUT" ? { type: "dropped" } : { type: "failed", code: code ?? "unknown" };
}
