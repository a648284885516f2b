/** docs/conformance.md, from results.json. */
import type { Results, Run } from "./results.ts";
import type { RequiredTest } from "./selection.ts";

/** Renders the document as the formatter would leave it. */
export function renderDocument({ runs, leftOut }: Results, required: readonly RequiredTest[]): string {
  return [
    "# Kubernetes' own tests",
    "",
    ...introduction,
    "",
    "## Runs",
    "",
    ...table(["", "nodes", "date", "passed", "did not", "minutes"], runs.map(runRow)),
    "",
    ...runs.flatMap((run) => (versionsOf(run) === versionsOf(runs[0]) ? [] : [`${titleOf(run)}: ${versionsOf(run)}.`, ""])),
    `With ${versionsOf(runs[0])}.`,
    "",
    ...comparison(runs),
    "## The tests",
    "",
    "A test that needs more nodes than a run had is not in it; Kubernetes' name for the tests' group, `[sig-network]`, is left out here.",
    "",
    ...table(
      ["test", ...runs.map(titleOf)],
      required.map(({ name }) => [escapeCell(name), ...runs.map(({ outcomes }) => outcomes[name] ?? "")]),
    ),
    "",
    "## What is left out",
    "",
    ...table(
      ["tests", "why"],
      Object.entries(leftOut).map(([because, tests]) => [String(tests), because]),
    ),
    "",
  ].join("\n");
}

const introduction = [
  "Kubernetes' end-to-end tests of its network, unchanged, on a cluster whose nodes have Sallyport's service proxy (the shipped DaemonSet) and no",
  "kube-proxy. Nodes, pods and Services have IPv4 and IPv6 addresses; each node is in a zone of its own. kube-proxy (nftables mode) can take its",
  "place, with the same configuration.",
  "",
  "```sh",
  "test/cluster/build/build.sh && test/cluster/build/build-e2e.sh     # once",
  "npm run test:conformance                                           # two nodes",
  "npm run test:conformance -- --nodes 3                              # and the tests that need a third",
  "npm run test:conformance -- --service-proxy kube-proxy             # the same with kube-proxy",
  "npm run test:conformance -- --subset                               # the part that .ci/run has",
  "```",
  "",
  "`--write` writes a run down here. Which tests must pass stands in `test/cluster/conformance/required.txt`; one that does not run, or skips",
  "itself, has failed. Every other network test has a reason in `left-out.ts`; one with neither stops the run.",
] as const;

function runRow(run: Run): readonly string[] {
  const outcomes = Object.values(run.outcomes);
  const passed = outcomes.filter((type) => type === "passed").length;
  return [run.serviceProxy, String(run.nodes), run.date, String(passed), String(outcomes.length - passed), run.minutes.toFixed(1)];
}

function titleOf({ serviceProxy, nodes }: Run): string {
  return `${serviceProxy}, ${nodes}`;
}

function versionsOf(run: Run | undefined): string {
  return Object.entries(run?.versions ?? {})
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
}

/** Which tests end otherwise with kube-proxy. */
function comparison(runs: readonly Run[]): readonly string[] {
  const comparable = runs.filter(({ serviceProxy }) => serviceProxy === "kube-proxy");
  if (comparable.length === 0) return [];
  const differences = comparable.flatMap((theirs) => {
    const ours = runs.find(({ serviceProxy, nodes }) => serviceProxy === "sallyport" && nodes === theirs.nodes);
    return Object.entries(theirs.outcomes)
      .filter(([name, outcome]) => ours !== undefined && ours.outcomes[name] !== outcome)
      .map(
        ([name, outcome]) =>
          `- ${name} (${theirs.nodes} nodes): ${outcome} with kube-proxy, ${ours?.outcomes[name] ?? "not run"} with Sallyport`,
      );
  });
  if (differences.length === 0) return ["No test ends otherwise with kube-proxy.", ""];
  return ["What ends otherwise with kube-proxy:", "", ...differences, ""];
}

function escapeCell(name: string): string {
  return name.replace("[sig-network] ", "").replaceAll("*", String.raw`\*`);
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const widths = header.map((cell, column) => Math.max(3, cell.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)];
}
