/** The program `nft`, run as a child for every transaction and every look at our own table. */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { once } from "node:events";

/** What the dataplane needs of it. Both throw `NftError`. */
export interface Nft {
  /** Runs a script as one transaction. */
  run(script: string): Promise<void>;
  /** Runs a script up to the point where it would take effect: the kernel has looked at all of it (`nft -c`). */
  check(script: string): Promise<void>;
  /** Asks for JSON, such as `["list", "set", "ip", "sallyport", "hairpin"]`. */
  list(args: readonly string[]): Promise<string>;
  version(): Promise<string>;
}

/** nft could not be run, took too long, or said no. */
export class NftError extends Error {
  override readonly name = "NftError";
}

export interface NftOptions {
  /** `["nft"]`, or with a program before it that chooses a network namespace. */
  readonly command: readonly [string, ...string[]];
  readonly spawn: (command: string, args: readonly string[], options: SpawnOptions) => ChildProcess;
  /** After this it is killed: a transaction of 4,000 elements takes a tenth of a second, and reading the largest table some seconds. */
  readonly timeoutMs: number;
}

/** nft's own words about a failure are cut here: it repeats the whole line that it does not like. */
const maxErrorCharacters = 600;

export function createNft(options: NftOptions): Nft {
  return {
    run: async (script) => void (await runNft(options, ["-f", "-"], script)),
    check: async (script) => void (await runNft(options, ["-c", "-f", "-"], script)),
    list: (args) => runNft(options, ["-j", ...args], ""),
    version: async () => (await runNft(options, ["--version"], "")).trim(),
  };
}

async function runNft({ command, spawn, timeoutMs }: NftOptions, args: readonly string[], input: string): Promise<string> {
  const [program, ...before] = command;
  const child = spawn(program, [...before, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program that ends without reading its input closes the pipe under us; its exit code tells the rest.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(input);
  const failed = Promise.withResolvers<never>();
  child.once("error", (error) => failed.reject(new NftError(`nft could not be run: ${error.message}`, { cause: error })));
  const [code, signal] = (await Promise.race([once(child, "close"), failed.promise])) as [number | null, string | null];
  if (code === 0) return Buffer.concat(stdout).toString("utf8");
  const said = Buffer.concat(stderr).toString("utf8").trim().slice(0, maxErrorCharacters);
  if (signal !== null) throw new NftError(`nft was ended by ${signal}; it may take ${timeoutMs / 1000} s: ${said}`);
  throw new NftError(`nft ended with ${code}: ${said}`);
}
