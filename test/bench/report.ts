/** Collects figures and prints them: a table for each measure, the aims beside it, the machine and its load. */
import { execFileSync } from "node:child_process";
import { cpus, loadavg, totalmem } from "node:os";
import { aims } from "./aims.ts";
import { legs } from "./contenders.ts";
import type { ContenderName } from "./contenders.ts";
import type { Figures } from "./program.ts";
import { summarize } from "./statistics.ts";

export type Column = ContenderName | "relay";

export interface Sample {
  readonly measure: string;
  readonly contender: Column;
  readonly round: number;
  readonly figures: Figures;
  /** The machine's load average when it was taken. */
  readonly load: number;
}

/** Figures by measure, contender and name, in the order of the rounds. */
export class Results {
  readonly #samples: Sample[] = [];
  readonly #failures: { readonly measure: string; readonly contender: Column; readonly message: string }[] = [];

  add(sample: Sample): void {
    this.#samples.push(sample);
  }

  fail(measure: string, contender: Column, message: string): void {
    this.#failures.push({ measure, contender, message });
  }

  /** One value for each round; NaN where a round failed. */
  values(measure: string, contender: Column, figure: string): readonly number[] {
    return this.#samples
      .filter((sample) => sample.measure === measure && sample.contender === contender)
      .map((sample) => sample.figures[figure] ?? Number.NaN);
  }

  /** Everything, for other programs. */
  json(): string {
    return `${JSON.stringify({ date: new Date().toISOString(), machine: machine(), legs, samples: this.#samples, failures: this.#failures }, null, 1)}\n`;
  }

  /** Markdown. */
  table(): string {
    const sections = unique(this.#samples.map(({ measure }) => measure)).map((measure) => this.#section(measure));
    const loads = summarize(this.#samples.map(({ load }) => load));
    const load = loads === undefined ? "" : `load average ${show(loads.low)} to ${show(loads.high)}, median ${show(loads.median)}`;
    const failed = this.#failures.map(
      ({ measure, contender, message }) => `- failed: ${measure}, ${contender}: ${message.split("\n")[0]}\n`,
    );
    return `${machine()}; ${load}\n\n${sections.join("\n")}\n${this.#aims()}\n${failed.join("")}`;
  }

  #section(measure: string): string {
    const samples = this.#samples.filter((sample) => sample.measure === measure);
    const columns = unique(samples.map(({ contender }) => contender)).toSorted((a, b) => order.indexOf(a) - order.indexOf(b));
    const figures = unique(samples.flatMap((sample) => Object.keys(sample.figures)));
    const rows = figures.map((figure) => {
      const cells = columns.map((column) => {
        const summary = summarize(this.values(measure, column, figure));
        return summary === undefined ? "" : `${show(summary.median)} (${show(summary.low)} to ${show(summary.high)})`;
      });
      return `| ${figure} | ${cells.join(" | ")} |`;
    });
    return [`**${measure}**`, "", `| | ${columns.join(" | ")} |`, `|---|${columns.map(() => "---|").join("")}`, ...rows, ""].join("\n");
  }

  #aims(): string {
    const rows = aims.map((aim) => {
      const summary = summarize(aim.values(this));
      if (summary === undefined) return undefined;
      const isMet = aim.atLeast === undefined ? summary.median <= (aim.atMost ?? 0) : summary.median >= aim.atLeast;
      const bound = aim.atLeast === undefined ? `at most ${aim.atMost}` : `at least ${aim.atLeast}`;
      return `| ${aim.name} | ${bound} | ${show(summary.median)} (${show(summary.low)} to ${show(summary.high)}) | ${isMet ? "yes" : "no"} |`;
    });
    return ["| aim | bound | median (quartiles) | met |", "|---|---|---|---|", ...rows.filter((row) => row !== undefined), ""].join("\n");
  }
}

const order: readonly Column[] = ["direct", "kubectl proxy", "fetch proxy", "relay", "remotedialer", "Sallyport"];

function unique<Value>(values: readonly Value[]): readonly Value[] {
  return [...new Set(values)];
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** What the figures were taken on, without a name. */
function machine(): string {
  const [cpu] = cpus();
  const go = execFileSync("go", ["env", "GOVERSION"], { encoding: "utf8" }).trim();
  const gibibytes = (totalmem() / 2 ** 30).toFixed(0);
  return `${cpus().length} cores (${cpu?.model ?? "unknown"}), ${gibibytes} GiB, Node ${process.version}, ${go}; load average at the end ${loadavg()[0]?.toFixed(2)}`;
}
