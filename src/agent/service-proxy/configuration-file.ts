/**
 * The configuration file while the role runs. kube-proxy ends when its file is written to, so that it is started again with the new one; here
 * that holds for a ConfigMap's mount too, where files are exchanged and never written to. What does not mean anything else changes nothing,
 * and a file with a mistake ends nobody: the process would not come back.
 */
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "#agent/clock.ts";
import { parseKubeProxyConfiguration } from "./kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "./kube-proxy-configuration.ts";

/** Time between two looks at the file: kubelets take a minute to bring a change to a mount. */
export const configurationLookMs = 10_000;

export interface ConfigurationFileOptions {
  readonly path: string;
  /** What the role runs with. */
  readonly running: KubeProxyConfiguration;
  /** Rejects when the file cannot be read. */
  readonly read: (path: string) => Promise<string>;
  readonly clock: Clock;
  /** The file says something else than what runs. */
  readonly onChange: () => void;
  /** Told, in a sentence, when the file cannot be taken, and undefined when it is as what runs again. */
  readonly onProblem: (what: string | undefined) => void;
}

export class ConfigurationFile {
  readonly #options: ConfigurationFileOptions;
  #seen: string | undefined;
  #judged: string | undefined;
  #problem: string | undefined;
  #cancel: () => void = () => undefined;
  #isStopped = false;

  constructor(options: ConfigurationFileOptions) {
    this.#options = options;
  }

  /** What is wrong with the file now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Looks at the file from now on. */
  start(): void {
    if (!this.#isStopped) this.#cancel = this.#options.clock.after(configurationLookMs, () => void this.#look());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  async #look(): Promise<void> {
    const { path, read } = this.#options;
    try {
      const text = await read(path);
      // A file that is being written is looked at when it has come to rest.
      if (text === this.#seen && text !== this.#judged) this.#judge(text);
      this.#seen = text;
    } catch (thrown) {
      [this.#seen, this.#judged] = [undefined, undefined];
      this.#note(`it cannot be read any more: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
    this.start();
  }

  #judge(text: string): void {
    const { path, running, onChange } = this.#options;
    this.#judged = text;
    const parsed = parseKubeProxyConfiguration(text, path);
    if (parsed.type === "invalid") return this.#note(parsed.problems.map(({ line, message }) => `line ${line}: ${message}`).join("; "));
    this.#note(undefined);
    if (!isDeepStrictEqual(parsed.configuration, running) && !this.#isStopped) onChange();
  }

  #note(fault: string | undefined): void {
    const { path, onProblem } = this.#options;
    const problem =
      fault === undefined ? undefined : `the configuration file ${path} has changed, and what it was before stays in force: ${fault}`;
    if (problem === this.#problem) return;
    this.#problem = problem;
    onProblem(problem);
  }
}
