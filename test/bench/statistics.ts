/** Medians, spreads, and ratios of what ran side by side. */

export interface Summary {
  readonly median: number;
  /** Half of all rounds lie between these. */
  readonly low: number;
  readonly high: number;
  readonly rounds: number;
}

/** The median and the quartiles. */
export function summarize(values: readonly number[]): Summary | undefined {
  const sorted = values.filter((value) => Number.isFinite(value)).toSorted((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  return { median: quantile(sorted, 0.5), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75), rounds: sorted.length };
}

/** Ratios round by round, so that what slowed the machine in one round slowed both. */
export function ratios(values: readonly number[], baseline: readonly number[]): readonly number[] {
  return values.map((value, round) => value / (baseline[round] ?? Number.NaN));
}

/** Linear between neighbours. */
function quantile(sorted: readonly number[], q: number): number {
  const place = (sorted.length - 1) * q;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}
