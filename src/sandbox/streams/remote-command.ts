/** exec: a command of the toybox in a container. attach: the streams of the container's own process. */
import type { WebSocket } from "ws";
import type { Container } from "#sandbox/node/container.ts";
import type { Program } from "#sandbox/node/program.ts";
import { isTrue } from "#sandbox/server/request.ts";
import { ChannelSession } from "./channels.ts";
import type { StreamOptions } from "./channels.ts";

/** Reads which streams a request wants. */
export function parseStreamOptions(query: URLSearchParams): StreamOptions {
  const wants = (name: string): boolean => isTrue(query.get(name));
  return { stdin: wants("stdin"), stdout: wants("stdout"), stderr: wants("stderr"), tty: wants("tty") };
}

/** Runs a command and connects it to the client; it is killed when the client goes. */
export async function serveExec(
  ws: WebSocket,
  container: Container,
  order: { readonly argv: readonly string[]; readonly options: StreamOptions },
): Promise<void> {
  const { argv, options } = order;
  const program = container.exec(argv, options.tty);
  const session = new ChannelSession(ws, options, {
    stdinData: (chunk) => writeInput(ws, program, chunk),
    stdinEnd: () => program.stdin.end(),
    resize: (columns, rows) => program.resize(columns, rows),
    abandoned: () => {
      program.kill("SIGKILL");
      for (const stream of [program.stdout, program.stderr]) stream.resume(); // what nobody reads must not keep it from ending
    },
  });
  if (!options.stdin) program.stdin.end();
  if (options.stdout) session.pipe(program.stdout, "stdout");
  else program.stdout.resume();
  if (options.stderr) session.pipe(program.stderr, "stderr");
  else program.stderr.resume();
  const { code } = await program.ended;
  session.finish(code);
}

/** Connects the client to the container's process until that ends or the client goes. */
export async function serveAttach(ws: WebSocket, container: Container, options: StreamOptions): Promise<void> {
  const program = container.current?.program;
  if (program === undefined)
    return new ChannelSession(ws, options, ignoreClient).fail("the container's process runs outside of the sandbox");
  const takesInput = options.stdin && container.takesInput;
  const session = new ChannelSession(ws, options, {
    stdinData: (chunk) => (takesInput ? writeInput(ws, program, chunk) : undefined),
    stdinEnd: () => (takesInput && container.takesInputOnce ? program.stdin.end() : undefined),
    resize: (columns, rows) => program.resize(columns, rows),
    abandoned: () => stop(),
  });
  const out = (chunk: Buffer): void => session.broadcast(chunk, "stdout");
  const err = (chunk: Buffer): void => session.broadcast(chunk, "stderr");
  const stop = (): void => {
    program.stdout.off("data", out);
    program.stderr.off("data", err);
  };
  if (options.stdout) program.stdout.on("data", out);
  if (options.stderr) program.stderr.on("data", err);
  await program.ended;
  session.finish(0); // as a kubelet does: the exit code is in the pod's status
}

const ignoreClient = { stdinData: () => undefined, stdinEnd: () => undefined, resize: () => undefined, abandoned: () => undefined };

/** Gives input to a program; while it does not read, nothing more is taken from the client. */
function writeInput(ws: WebSocket, program: Program, chunk: Buffer): void {
  if (program.stdin.writableEnded || program.stdin.destroyed || program.stdin.write(chunk)) return;
  ws.pause();
  const resume = (): void => ws.resume();
  program.stdin.once("drain", resume);
  program.stdin.once("close", resume);
}
