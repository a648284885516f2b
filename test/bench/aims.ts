/** What the product promises of its speed, each as a ratio or a difference that is taken within a round. */
import type { Column, Results } from "./report.ts";
import { ratios } from "./statistics.ts";

export interface Aim {
  readonly name: string;
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly values: (results: Results) => readonly number[];
}

const own = "Sallyport";

/** Our figure divided by another's. */
function against(measure: string, figure: string, other: Column, otherFigure = figure): Aim["values"] {
  return (results) => ratios(results.values(measure, own, figure), results.values(measure, other, otherFigure));
}

export const aims: readonly Aim[] = [
  { name: "download, of the relay", atLeast: 0.9, values: against("tunnel", "down", "relay", "rate") },
  { name: "upload, of the relay", atLeast: 0.8, values: against("tunnel", "up", "relay", "rate") },
  { name: "small GET p50, of the fetch proxy's", atMost: 1.5, values: against("small GET", "p50 1", "fetch proxy") },
  { name: "download, of remotedialer's", atLeast: 1, values: against("tunnel", "down", "remotedialer") },
  { name: "upload, of remotedialer's", atLeast: 1, values: against("tunnel", "up", "remotedialer") },
  { name: "cp down, of remotedialer's", atLeast: 1, values: against("cp", "down", "remotedialer") },
  { name: "cp up, of remotedialer's", atLeast: 1, values: against("cp", "up", "remotedialer") },
  { name: "port-forward down, of remotedialer's", atLeast: 1, values: against("port-forward", "down", "remotedialer") },
  { name: "port-forward up, of remotedialer's", atLeast: 1, values: against("port-forward", "up", "remotedialer") },
  { name: "requests per second at 16, of remotedialer's", atLeast: 1, values: against("small GET", "rate 16", "remotedialer") },
  { name: "requests per second at 64, of remotedialer's", atLeast: 1, values: against("small GET", "rate 64", "remotedialer") },
  { name: "requests per second at 64, of kubectl proxy's", atLeast: 1, values: against("small GET", "rate 64", "kubectl proxy") },
  {
    name: "p99 beside stalled readers, of remotedialer's",
    atMost: 1,
    values: against("100 stalled readers", "p99 beside", "remotedialer"),
  },
  { name: "memory of 100 stalled readers, MiB", atMost: 64, values: (results) => results.values("100 stalled readers", own, "MiB added") },
  {
    name: "p99 beside stalled readers, of that alone",
    atMost: 1.05,
    values: (results) => results.values("100 stalled readers", own, "p99 ratio"),
  },
  { name: "keystroke p50 added by a copy, ms", atMost: 5, values: (results) => results.values("exec echo", own, "p50 added") },
];
