/** Collects figures and makes tables of them. */
import { loadavg } from "node:os";

import { ratios, summarize } from "../statistics.ts";
import type { Figures } from "./world.ts";

/** The machine's load averages. */
export function loads(): string {
  return loadavg()
    .map((load) => load.toFixed(1))
    .join(" ");
}

/** Figures by contender in the order of the rounds, as a table: medians, quartiles, and the ratio to the first contender. */
export class Results {
  readonly #rounds = new Map<string, Figures[]>();

  add(contender: string, figures: Figures): void {
    this.#rounds.set(contender, [...(this.#rounds.get(contender) ?? []), figures]);
  }

  table(title: string): string {
    const contenders = [...this.#rounds.keys()];
    const names = Object.keys(this.#rounds.get(contenders[0] ?? "")?.[0] ?? {});
    const rows = names.map((name) => `| ${name} | ${contenders.map((contender) => this.#cell(contender, name)).join(" | ")} |`);
    const head = [`\n**${title}** (load ${loads()})\n`, `| | ${contenders.join(" | ")} |`, `|---|${contenders.map(() => "---|").join("")}`];
    return [...head, ...rows].join("\n");
  }

  #cell(contender: string, name: string): string {
    const [first = ""] = this.#rounds.keys();
    const own = this.#values(contender, name);
    const summary = summarize(own);
    if (summary === undefined) return "";
    const spread = summary.rounds > 1 ? ` (${show(summary.low)} to ${show(summary.high)})` : "";
    const ratio = contender === first ? "" : `; ×${show(summarize(ratios(own, this.#values(first, name)))?.median ?? Number.NaN)}`;
    return `${show(summary.median)}${spread}${ratio}`;
  }

  #values(contender: string, name: string): readonly number[] {
    return (this.#rounds.get(contender) ?? []).map((figures) => figures[name] ?? Number.NaN);
  }
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
