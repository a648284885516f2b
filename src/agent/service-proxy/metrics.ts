/** Counters, gauges and histograms, written as Prometheus reads them (text exposition format 0.0.4). */

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

interface Definition {
  readonly name: string;
  readonly help: string;
}

interface Metric {
  readonly name: string;
  lines(): readonly string[];
}

/** All metrics of a process. */
export class MetricRegistry {
  readonly #metrics: Metric[] = [];

  counter(definition: Definition): Counter {
    return this.#add(new Counter(definition, "counter"));
  }

  gauge(definition: Definition): Counter {
    return this.#add(new Counter(definition, "gauge"));
  }

  /** A value that is read when it is asked for. */
  observed(definition: Definition & { readonly type: "counter" | "gauge"; readonly read: () => number }): void {
    const { name, help, type, read } = definition;
    this.#metrics.push({ name, lines: () => [...head(name, help, type), `${name} ${read()}`] });
  }

  /** Values, each with its labels, that are read when they are asked for. */
  sampled(definition: Definition & { readonly type: "counter" | "gauge"; readonly read: () => readonly Sample[] }): void {
    const { name, help, type, read } = definition;
    const lines = (samples: readonly Sample[]) => samples.map(({ labels, value }) => `${name}${renderLabels(labels)} ${value}`);
    this.#metrics.push({ name, lines: () => [...head(name, help, type), ...lines(read())] });
  }

  histogram(definition: Definition & { readonly buckets: readonly number[] }): Histogram {
    return this.#add(new Histogram(definition));
  }

  /** Everything, sorted by name. */
  render(): string {
    const metrics = this.#metrics.toSorted((one, other) => (one.name < other.name ? -1 : 1));
    return metrics.flatMap((metric) => metric.lines().map((line) => `${line}\n`)).join("");
  }

  #add<Kind extends Metric>(metric: Kind): Kind {
    this.#metrics.push(metric);
    return metric;
  }
}

/** A number for each set of labels: one that only grows, or one that is set. */
export class Counter {
  readonly name: string;
  readonly #help: string;
  readonly #type: "counter" | "gauge";
  readonly #values = new Map<string, number>();

  constructor({ name, help }: Definition, type: "counter" | "gauge") {
    this.name = name;
    this.#help = help;
    this.#type = type;
  }

  add(labels: Labels = {}, amount = 1): void {
    const key = renderLabels(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  set(value: number, labels: Labels = {}): void {
    this.#values.set(renderLabels(labels), value);
  }

  lines(): readonly string[] {
    if (this.#values.size === 0) return [];
    return [...head(this.name, this.#help, this.#type), ...[...this.#values].map(([labels, value]) => `${this.name}${labels} ${value}`)];
  }
}

interface Distribution {
  readonly labels: Labels;
  readonly counts: number[];
  count: number;
  sum: number;
}

/** How values are spread over buckets, for each set of labels. */
export class Histogram {
  readonly name: string;
  readonly #help: string;
  /** Upper bounds, ascending. */
  readonly #buckets: readonly number[];
  readonly #distributions = new Map<string, Distribution>();

  constructor({ name, help, buckets }: Definition & { readonly buckets: readonly number[] }) {
    this.name = name;
    this.#help = help;
    this.#buckets = buckets;
  }

  observe(value: number, labels: Labels = {}): void {
    const key = renderLabels(labels);
    const distribution = this.#distributions.get(key) ?? { labels, counts: this.#buckets.map(() => 0), count: 0, sum: 0 };
    this.#distributions.set(key, distribution);
    const bucket = this.#buckets.findIndex((bound) => value <= bound);
    if (bucket !== -1) distribution.counts[bucket] = (distribution.counts[bucket] ?? 0) + 1;
    distribution.count += 1;
    distribution.sum += value;
  }

  lines(): readonly string[] {
    if (this.#distributions.size === 0) return [];
    return [...head(this.name, this.#help, "histogram"), ...[...this.#distributions.values()].flatMap((one) => this.#linesOf(one))];
  }

  #linesOf({ labels, counts, count, sum }: Distribution): readonly string[] {
    let below = 0;
    const buckets = this.#buckets.map((bound, index) => {
      below += counts[index] ?? 0;
      return `${this.name}_bucket${renderLabels({ ...labels, le: String(bound) })} ${below}`;
    });
    return [
      ...buckets,
      `${this.name}_bucket${renderLabels({ ...labels, le: "+Inf" })} ${count}`,
      `${this.name}_sum${renderLabels(labels)} ${sum}`,
      `${this.name}_count${renderLabels(labels)} ${count}`,
    ];
  }
}

function head(name: string, help: string, type: string): readonly string[] {
  return [`# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`, `# TYPE ${name} ${type}`];
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
