/** What became of the required tests, from ginkgo's JSON report. */
import type { RequiredTest } from "./selection.ts";

export type Outcome =
  | { readonly type: "passed"; readonly seconds: number }
  | { readonly type: "failed"; readonly seconds: number; readonly message: string; readonly output: string }
  /** The test thinks that this cluster is not one for it. */
  | { readonly type: "skipped"; readonly message: string }
  /** The program has no such test, or never came to it. */
  | { readonly type: "missing" };

export interface TestOutcome {
  readonly name: string;
  readonly outcome: Outcome;
}

/** ginkgo's types.Report, as far as it is read here (github.com/onsi/ginkgo/v2/types). */
interface GinkgoSpec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  /** Nanoseconds. */
  readonly RunTime: number;
  readonly Failure?: { readonly Message: string };
  readonly CapturedGinkgoWriterOutput?: string;
}

/** Judges each required test by the report; what else ran does not matter. */
export function judge(report: string, required: readonly RequiredTest[]): readonly TestOutcome[] {
  const specs = new Map(
    specsOf(report)
      .filter(isTest)
      .map((spec) => [nameOf(spec), spec]),
  );
  return required.map(({ name }) => {
    const spec = specs.get(name);
    return { name, outcome: spec === undefined ? { type: "missing" } : outcomeOf(spec) };
  });
}

/** What went wrong before or after the tests, such as a cluster that is not ready. */
export function suiteTroubles(report: string): readonly string[] {
  return specsOf(report)
    .filter((spec) => !isTest(spec) && outcomeOf(spec).type === "failed")
    .map((spec) => `${spec.LeafNodeType}: ${spec.Failure?.Message ?? spec.State}`);
}

function specsOf(report: string): readonly GinkgoSpec[] {
  // ginkgo writes one report for each suite, and there is one.
  const suites = JSON.parse(report) as readonly { readonly SpecReports: readonly GinkgoSpec[] | null }[];
  return suites.flatMap(({ SpecReports }) => SpecReports ?? []);
}

function isTest(spec: GinkgoSpec): boolean {
  return spec.LeafNodeType === "It";
}

function nameOf(spec: GinkgoSpec): string {
  return [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(" ").trim();
}

/** States of ginkgo: passed; skipped and pending did not run; failed, panicked, timedout, interrupted and aborted did not pass. */
function outcomeOf({ State, RunTime, Failure, CapturedGinkgoWriterOutput = "" }: GinkgoSpec): Outcome {
  const seconds = RunTime / 1e9;
  const message = Failure?.Message ?? "";
  if (State === "passed") return { type: "passed", seconds };
  // What the focus leaves out is skipped without a word.
  if (State === "skipped" || State === "pending") return { type: "skipped", message: message || "it was not chosen to run" };
  return { type: "failed", seconds, message: message || State, output: CapturedGinkgoWriterOutput };
}
