/** A file that somebody else keeps fresh, such as a pod's projected token. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { GatewayError } from "#core/errors.ts";
import { fileRefreshMs } from "./limits.ts";

/** Milliseconds since 1970-01-01T00:00:00Z. */
export interface WallClock {
  now(): number;
}

/** A text file that is read again at most every few seconds; what was read before holds while it cannot be read. */
export class RefreshedFile {
  readonly #path: string;
  readonly #clock: WallClock;
  #text: string;
  #readAtMs: number;
  #reading: Promise<void> | undefined;

  /** Throws CONFIGURATION_INVALID when the file cannot be read. */
  constructor(path: string, clock: WallClock) {
    this.#path = path;
    this.#clock = clock;
    this.#text = readOrRefuse(path);
    this.#readAtMs = clock.now();
  }

  get text(): string {
    return this.#text;
  }

  async refresh(): Promise<void> {
    if (this.#clock.now() - this.#readAtMs < fileRefreshMs) return;
    this.#reading ??= this.#read();
    await this.#reading;
  }

  expire(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }

  async #read(): Promise<void> {
    const text = await readFile(this.#path, "utf8").catch(() => ""); // the kubelet is just exchanging it
    if (text !== "") this.#text = text;
    this.#readAtMs = this.#clock.now();
    this.#reading = undefined;
  }
}

/** A token as an Authorization header's value; what is not one visible word is no token, and could be another header line. */
export function bearerValue(text: string): string {
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new GatewayError("AGENT_CREDENTIAL", "the token for the apiserver is empty or holds a blank or control character");
  return `Bearer ${token}`;
}

function readOrRefuse(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new GatewayError("CONFIGURATION_INVALID", `${path}: the credential for the apiserver cannot be read`, { cause: error });
  }
}
