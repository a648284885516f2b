/**
 * Kubernetes' own end-to-end tests with the service proxy in kube-proxy's place. required.txt names those that must pass, by their full
 * names; left-out.ts says of every other network test why it is not among them. What must stay true: a required test that does not run, for
 * whatever reason, is a failure, and a network test that neither file knows stops the run.
 */

/** A test that must pass. */
export interface RequiredTest {
  /** Its full name, as `e2e.test --list-tests` prints it. */
  readonly name: string;
  /** The fewest nodes on which it does not skip itself. */
  readonly nodes: number;
  /** Whether it is one of the few that run with every change. */
  readonly isInSubset: boolean;
}

/** A kind of test that is not required. */
export interface LeftOut {
  readonly pattern: RegExp;
  readonly because: string;
}

const line = /^(?<nodes>\d+) (?<when>subset|full) +(?<name>\[sig-network\] .*\S)$/;

/** Reads required.txt. Throws on a line that is not one. */
export function parseRequired(text: string): readonly RequiredTest[] {
  const lines = text.split("\n").filter((content) => content !== "" && !content.startsWith("#"));
  const tests = lines.map((content) => {
    const { nodes, when, name } = line.exec(content)?.groups ?? {};
    if (name === undefined) throw new Error(`required.txt: "${content}" is not NODES subset|full NAME`);
    return { name, nodes: Number(nodes), isInSubset: when === "subset" };
  });
  const names = new Set(tests.map(({ name }) => name));
  if (names.size !== tests.length) throw new Error("required.txt names a test twice");
  return tests;
}

/** The tests that must pass on a cluster with this many nodes. */
export function chooseTests(all: readonly RequiredTest[], nodes: number, subset: boolean): readonly RequiredTest[] {
  return all.filter((test) => test.nodes <= nodes && (test.isInSubset || !subset));
}

/** The names of all network tests in what `e2e.test --list-tests` prints: one in each line, after where it stands in the source. */
export function parseTestList(text: string): readonly string[] {
  return [...text.matchAll(/: (\[sig-network\] .*)$/gm)].map(([, name = ""]) => name.trim());
}

/** Network tests that are neither required nor left out: somebody has to decide about them. */
export function undecidedTests(
  listed: readonly string[],
  required: readonly RequiredTest[],
  leftOut: readonly LeftOut[],
): readonly string[] {
  const names = new Set(required.map(({ name }) => name));
  return listed.filter((name) => !names.has(name) && !leftOut.some(({ pattern }) => pattern.test(name)));
}

/** A regular expression (RE2) for ginkgo that matches exactly these tests. ginkgo puts the suite's name before the test's. */
export function focusOn(tests: readonly RequiredTest[]): string {
  // A few tests have a space at their end, which the list does not show.
  return ` (${tests.map(({ name }) => escapeExpression(name)).join("|")}) *$`;
}

function escapeExpression(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}
