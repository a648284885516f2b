/** Status lines that are written anew in place, on a terminal; elsewhere only what changes is told. */
import { redrawMs } from "./limits.ts";
import type { Traffic } from "./traffic.ts";

export interface StatusLinesOptions {
  /** To standard error. */
  readonly write: (text: string) => void;
  readonly isTerminal: boolean;
}

export class StatusLines {
  readonly #options: StatusLinesOptions;
  readonly #ports: Traffic[] = [];
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StatusLinesOptions) {
    this.#options = options;
  }

  add(port: Traffic): void {
    this.#ports.push(port);
  }

  start(): void {
    if (!this.#options.isTerminal) return;
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), redrawMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    if (this.#timer !== undefined) this.#draw();
  }

  /** A line that stays. */
  tell(line: string): void {
    this.#erase();
    this.#options.write(`${line}\n`);
    if (this.#timer !== undefined) this.#draw();
  }

  #draw(): void {
    this.#erase();
    this.#options.write(this.#ports.map((port) => `${port.describe()}\n`).join(""));
    this.#drawn = this.#ports.length;
  }

  /** Moves up and clears what is below (ECMA-48 CUU and ED). */
  #erase(): void {
    if (this.#drawn > 0) this.#options.write(`\u001b[${this.#drawn}A\u001b[J`);
    this.#drawn = 0;
  }
}
