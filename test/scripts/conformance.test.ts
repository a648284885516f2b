import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { renderDocument } from "#test/cluster/conformance/document.ts";
import { judge, suiteTroubles } from "#test/cluster/conformance/outcomes.ts";
import { readResults, withRun } from "#test/cluster/conformance/results.ts";
import { chooseTests, focusOn, parseRequired, parseTestList, undecidedTests } from "#test/cluster/conformance/selection.ts";

const one = "[sig-network] Services should serve (a|b) [Conformance]";
const two = "[sig-network] Services should need three";
const required = parseRequired(`# a comment\n2 subset ${one}\n3 full   ${two}\n`);

function reportOf(...specs: readonly (readonly [state: string, name: string, more?: object])[]): string {
  const reports = specs.map(([State, name, more]) => ({
    ContainerHierarchyTexts: ["[sig-network] Services"],
    LeafNodeType: "It",
    LeafNodeText: name.replace("[sig-network] Services ", ""),
    State,
    RunTime: 2_500_000_000,
    ...more,
  }));
  return JSON.stringify([{ SpecReports: reports }]);
}

describe("the required tests", () => {
  test("are those that the number of nodes allows", () => {
    expect(chooseTests(required, 2, false).map(({ name }) => name)).toEqual([one]);
    expect(chooseTests(required, 3, false).map(({ name }) => name)).toEqual([one, two]);
    expect(chooseTests(required, 3, true).map(({ name }) => name)).toEqual([one]);
  });

  test("are asked for by exactly their names, after the suite's", () => {
    const focus = new RegExp(focusOn(required));
    expect([one, two, `${two} `].map((name) => focus.test(`Kubernetes e2e suite ${name}`))).toEqual([true, true, true]);
    expect([`${two} more`, one.replace("(a|b)", "a")].map((name) => focus.test(`Kubernetes e2e suite ${name}`))).toEqual([false, false]);
  });

  test.each([`2 sometimes ${one}`, `two full ${one}`, "2 full [sig-node] Pods should run"])("are not read from %s", (line) => {
    expect(() => parseRequired(line)).toThrow(line);
  });

  test("are named once each", () => {
    expect(() => parseRequired(`2 full ${one}\n3 full ${one}\n`)).toThrow("twice");
  });
});

describe("the outcome of a test", () => {
  test("is a success only where it passed", () => {
    const states = ["passed", "failed", "panicked", "timedout", "interrupted", "aborted", "skipped", "pending"];
    const kinds = states.map((state) => judge(reportOf([state, one]), chooseTests(required, 2, false))[0]?.outcome.type);
    expect(kinds).toEqual(["passed", "failed", "failed", "failed", "failed", "failed", "skipped", "skipped"]);
  });

  test("has the time and the reason", () => {
    const report = reportOf(["failed", one, { Failure: { Message: "timed out" }, CapturedGinkgoWriterOutput: "log" }]);
    expect(judge(report, required)[0]?.outcome).toEqual({ type: "failed", seconds: 2.5, message: "timed out", output: "log" });
  });

  test("is told for a test that the report does not know", () => {
    expect(judge(reportOf(["passed", one]), required)).toEqual([
      { name: one, outcome: { type: "passed", seconds: 2.5 } },
      { name: two, outcome: { type: "missing" } },
    ]);
    expect(judge(JSON.stringify([{ SpecReports: null }]), required).map(({ outcome }) => outcome.type)).toEqual(["missing", "missing"]);
  });

  test("is that of the tests alone; what fails around them is a trouble of its own", () => {
    const report = reportOf(
      ["passed", one],
      ["failed", "", { LeafNodeType: "SynchronizedBeforeSuite", Failure: { Message: "not ready" } }],
    );
    expect(suiteTroubles(report)).toEqual(["SynchronizedBeforeSuite: not ready"]);
    expect(suiteTroubles(reportOf(["failed", one]))).toEqual([]);
  });
});

describe("the list of all tests", () => {
  const list = `    k8s.io/kubernetes@v1.34.4/test/e2e/network/service.go:790: ${one} \n    x/y.go:1: [sig-node] Pods should run\n    x/z.go:2: ${two}\n`;

  test("gives the network's", () => {
    expect(parseTestList(list)).toEqual([one, two]);
  });

  test("shows what nobody has decided about", () => {
    const leftOut = [{ pattern: /need three/, because: "it needs three nodes" }];
    expect(undecidedTests(parseTestList(list), [], leftOut)).toEqual([one]);
    expect(undecidedTests(parseTestList(list), required, [])).toEqual([]);
  });
});

describe("docs/conformance.md", () => {
  test("is what the runs that were written down came to", async () => {
    const tests = parseRequired(await readFile("test/cluster/conformance/required.txt", "utf8"));
    expect(await readFile("docs/conformance.md", "utf8")).toBe(renderDocument(readResults(), tests));
  });

  test("has the newest run of each kind", () => {
    const run = { serviceProxy: "sallyport", nodes: 2, date: "2026-11-01", minutes: 1, versions: {}, outcomes: {} } as const;
    const other = { ...run, serviceProxy: "kube-proxy" } as const;
    const newer = { ...run, date: "2026-11-02" };
    expect(withRun([other, run], newer)).toEqual([newer, other]);
  });

  test("names the tests that end otherwise with kube-proxy", () => {
    const run = {
      serviceProxy: "sallyport",
      nodes: 2,
      date: "2026-11-01",
      minutes: 1,
      versions: {},
      outcomes: { [one]: "passed" },
    } as const;
    const theirs = { ...run, serviceProxy: "kube-proxy", outcomes: { [one]: "failed" } } as const;
    const differs = `- ${one} (2 nodes): failed with kube-proxy, passed with Sallyport`;
    expect(renderDocument({ runs: [run, theirs], leftOut: {} }, required)).toContain(differs);
    expect(renderDocument({ runs: [run, { ...theirs, outcomes: run.outcomes }], leftOut: {} }, required)).toContain(
      "No test ends otherwise",
    );
  });
});
