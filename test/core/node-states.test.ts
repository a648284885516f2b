import { describe, expect, it } from "vitest";
import { parseAgentReport } from "#core/agent-report.ts";
import {
  maxListedBytes,
  maxListedNodes,
  maxNodeErrorCharacters,
  parseNodeStates,
  summarizeNodeStates,
  toNodeError,
} from "#core/node-states.ts";
import type { NodeState } from "#core/node-states.ts";

function makeState(changes: Partial<NodeState> = {}): NodeState {
  return { node: "node-1", state: "synced", since: "2026-11-28T10:00:00.000Z", generation: 3, ...changes };
}

function makeNodes(count: number, changes: Partial<NodeState> = {}): readonly NodeState[] {
  return Array.from({ length: count }, (_, index) => makeState({ node: `node-${String(index).padStart(5, "0")}`, ...changes }));
}

describe("a report of nodes", () => {
  it("is well while all are, and names first who needs somebody", () => {
    expect(summarizeNodeStates([makeState()])).toEqual({ state: "synced", nodes: 1, notSynced: 0, listed: [makeState()] });
    const states = [
      makeState({ node: "b" }),
      makeState({ node: "a" }),
      makeState({ node: "z", lastError: "10.96.0.1:80/TCP: EADDRINUSE" }),
      makeState({ node: "c", state: "starting" }),
      makeState({ node: "e", state: "unknown" }),
      makeState({ node: "d", state: "failing" }),
    ];
    const report = summarizeNodeStates(states);
    expect([report.state, report.nodes, report.notSynced]).toEqual(["degraded", 6, 3]);
    expect(report.listed.map(({ node }) => node)).toEqual(["d", "e", "c", "z", "a", "b"]);
  });

  it("of ten thousand nodes lists those in trouble, and says how many there are", () => {
    const report = summarizeNodeStates([...makeNodes(10_000), makeState({ node: "zzz", state: "failing" })]);
    expect([report.nodes, report.notSynced, report.listed.length, report.listed[0]?.node]).toEqual([10_001, 1, maxListedNodes, "zzz"]);
  });

  it("fits, however long names and errors are", () => {
    const hostile = makeNodes(5_000, { node: "n".repeat(253), lastError: "\u{1f480}".repeat(maxNodeErrorCharacters / 2) });
    const report = summarizeNodeStates(hostile, "x".repeat(100_000));
    expect(new TextEncoder().encode(JSON.stringify(report)).length).toBeLessThan(maxListedBytes + 1024);
    expect(report.nodes).toBe(5_000);
  });

  it("says why the agent cannot read them", () => {
    expect(summarizeNodeStates([makeState()], "no answer")).toMatchObject({ state: "degraded", notSynced: 0, lastError: "no answer" });
  });
});

describe("a node's error", () => {
  it.each([
    ["a sequence that clears the screen", "\u001b[2Jgone", "[2Jgone"],
    ["several lines", "one\r\ntwo\tthree", "one two three"],
    ["a change of direction", "a\u202eb", "a b"],
    ["a C1 control", "a\u009bb", "a b"],
  ])("with %s is one line without it", (_what, text, wanted) => {
    expect(toNodeError(text)).toBe(wanted);
  });
});

describe("the parser of a report", () => {
  const report = summarizeNodeStates([makeState({ state: "failing", lastError: "IPv4: nft failed" }), makeState({ node: "node-2" })]);

  it("takes what an agent makes, unchanged", () => {
    expect(parseNodeStates(JSON.parse(JSON.stringify(report)))).toEqual({ type: "parsed", value: report });
  });

  it("takes nothing but the fields that it knows, and believes no summary", () => {
    const hostile = { ...report, state: "synced", more: "x".repeat(1000), listed: report.listed.map((node) => ({ ...node, more: 1 })) };
    expect(parseNodeStates(hostile)).toEqual({ type: "parsed", value: report });
  });

  it.each([
    ["no object", "synced", "the document must be an object"],
    ["no list", { ...report, listed: {} }, "listed must be a list"],
    ["too many nodes", { ...report, listed: makeNodes(maxListedNodes + 1) }, "listed holds more than 100 nodes"],
    ["a name that is none", { ...report, listed: [makeState({ node: "a\u001b[2J" })] }, "listed[0].node must be a DNS subdomain"],
    ["an unknown state", { ...report, listed: [{ ...makeState(), state: "fine" }] }, "listed[0].state must be one of"],
    ["a moment that is none", { ...report, listed: [makeState({ since: "\u001b[2J" })] }, "listed[0].since must be a moment"],
    ["a generation that is none", { ...report, listed: [makeState({ generation: -1 })] }, "listed[0].generation must be a whole number"],
    ["a number that is none", { ...report, nodes: Number.MAX_VALUE }, "nodes must be a whole number"],
    ["an endless error", { ...report, listed: [makeState({ lastError: "x".repeat(5000) })] }, "listed[0].lastError must be text"],
  ])("refuses %s", (_what, document, problem) => {
    const parsed = parseNodeStates(document);
    expect(parsed).toMatchObject({ type: "invalid", problems: expect.arrayContaining([expect.stringContaining(problem)]) });
  });

  it("makes one line of a hostile error", () => {
    const parsed = parseNodeStates({ ...report, listed: [makeState({ lastError: "\u001b]0;title\u0007\nnode-9  synced" })] });
    expect(parsed).toMatchObject({ value: { listed: [{ lastError: "]0;title node-9  synced" }] } });
  });
});

describe("an agent's report", () => {
  const encode = (roles: object): Uint8Array => new TextEncoder().encode(JSON.stringify({ roles, issuerKeys: {} }));

  it("keeps its other roles when what it says of nodes is not understood", () => {
    const parsed = parseAgentReport(encode({ tunnel: { streams: 1 }, "service-proxy": { nodes: "many" } }));
    expect(parsed).toMatchObject({ value: { roles: { tunnel: { streams: 1 }, "service-proxy": { state: "unreadable" } } } });
  });

  it("brings nodes through, and nothing beside them", () => {
    const nodes = summarizeNodeStates([makeState()]);
    const parsed = parseAgentReport(encode({ "service-proxy": { ...nodes, more: "\u001b" } }));
    expect(parsed).toMatchObject({ type: "parsed", value: { roles: { "service-proxy": nodes } } });
    expect(JSON.stringify(parsed)).not.toContain("more");
  });
});
