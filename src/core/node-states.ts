/**
 * What the service proxies of a cluster's nodes say of themselves. Each node writes it into a Lease; the agent of the role `tunnel` reads
 * those, and reports a part that fits into a STATUS frame, the nodes in trouble first; the gateway keeps it, and `sallyport status` shows it.
 * Whoever takes it parses it: nodes, agents and gateways do not answer for each other.
 */
import { field, finish, readArray, readCount, readObject, readText } from "./document.ts";
import type { Parsed } from "./document.ts";

/** The role's name in an agent's report. */
export const serviceProxyRole = "service-proxy";

/** Where the role runs in a cluster, and keeps the Leases of its nodes. */
export const serviceProxyNamespace = "sallyport-service-proxy";

/** `unknown`: the node has said nothing for too long. Those that need somebody come first. */
export const nodeConditions = ["failing", "unknown", "starting", "synced"] as const;

export type NodeCondition = (typeof nodeConditions)[number];

/** One node's service proxy. */
export interface NodeState {
  readonly node: string;
  readonly state: NodeCondition;
  /** RFC 3339: when it came into this state; of an unknown one, when it was heard of last. */
  readonly since: string;
  /** How many runs changed the rules since its process began. */
  readonly generation: number;
  /** What went wrong last, or does not work although the rules are applied. */
  readonly lastError?: string;
}

/** All nodes, as an agent reports them. */
export interface NodeStatesReport {
  readonly state: "synced" | "degraded";
  /** How many there are. */
  readonly nodes: number;
  /** How many of them are not synced. */
  readonly notSynced: number;
  /** As many as fit, in the order of `nodeConditions`. */
  readonly listed: readonly NodeState[];
  /** Why the agent cannot read all of them. */
  readonly lastError?: string;
}

/** Nodes in one report: what a person reads. The frame's 64 KiB also hold the keys of issuers and the role `tunnel`. */
export const maxListedNodes = 100;

/** Bytes of them in JSON: a hundred nodes with errors of common length. */
export const maxListedBytes = 24 << 10;

/** Characters of an error: enough for two sentences of nft. */
export const maxNodeErrorCharacters = 300;

/** A DNS subdomain (apimachinery, validation), which Nodes and Leases are named by. */
const nodeName = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Control characters, and those that change the direction of text. */
// oxlint-disable-next-line no-control-regex -- the control characters are what it looks for
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g;

/** A node's error as it is passed on: one line of bounded length. */
export function toNodeError(text: string): string {
  return text.slice(0, maxNodeErrorCharacters).replaceAll(unsafe, " ").trim();
}

/** Reports as many nodes as fit: those that are not synced first, then those with an error, each by name. */
export function summarizeNodeStates(states: readonly NodeState[], lastError?: string): NodeStatesReport {
  const listed: NodeState[] = [];
  let bytes = 0;
  for (const state of states.toSorted(byUrgency).slice(0, maxListedNodes)) {
    bytes += new TextEncoder().encode(JSON.stringify(state)).length + 1;
    if (bytes > maxListedBytes) break;
    listed.push(state);
  }
  const notSynced = states.filter(({ state }) => state !== "synced").length;
  return toReport({ nodes: states.length, notSynced, listed, ...(lastError !== undefined && { lastError: toNodeError(lastError) }) });
}

/** Parses a report; nothing but its fields comes through. */
export function parseNodeStates(input: unknown): Parsed<NodeStatesReport> {
  return finish((problems) => {
    const report = readObject(input, "", problems);
    const listed = readArray(field(report, "listed"), "listed", problems);
    if (listed.length > maxListedNodes) problems.push(`listed holds more than ${maxListedNodes} nodes`);
    const lastError = field(report, "lastError");
    return toReport({
      nodes: readCount(field(report, "nodes"), "nodes", problems),
      notSynced: readCount(field(report, "notSynced"), "notSynced", problems),
      listed: listed.slice(0, maxListedNodes).map((item, index) => readNodeState(item, `listed[${index}].`, problems)),
      ...(lastError !== undefined && { lastError: toNodeError(readText(lastError, "lastError", problems)) }),
    });
  });
}

/** Parses what is said of one node; `at` is where it stands, for the problems. */
export function readNodeState(input: unknown, at: string, problems: string[]): NodeState {
  const item = readObject(input, at, problems);
  const node = readText(field(item, "node"), `${at}node`, problems);
  if (!nodeName.test(node)) problems.push(`${at}node must be a DNS subdomain`);
  const state = nodeConditions.find((known) => known === field(item, "state"));
  if (state === undefined) problems.push(`${at}state must be one of ${nodeConditions.join(", ")}`);
  const lastError = field(item, "lastError");
  return {
    node,
    state: state ?? "unknown",
    since: readMoment(field(item, "since"), `${at}since`, problems),
    generation: readCount(field(item, "generation"), `${at}generation`, problems),
    ...(lastError !== undefined && { lastError: toNodeError(readText(lastError, `${at}lastError`, problems)) }),
  };
}

function readMoment(input: unknown, at: string, problems: string[]): string {
  const ms = Date.parse(readText(input, at, problems));
  if (!Number.isNaN(ms)) return new Date(ms).toISOString();
  problems.push(`${at} must be a moment of RFC 3339`);
  return "";
}

function toReport(report: Omit<NodeStatesReport, "state">): NodeStatesReport {
  return { state: report.notSynced > 0 || report.lastError !== undefined ? "degraded" : "synced", ...report };
}

function byUrgency(one: NodeState, other: NodeState): number {
  return (
    nodeConditions.indexOf(one.state) - nodeConditions.indexOf(other.state) ||
    Number(one.lastError === undefined) - Number(other.lastError === undefined) ||
    (one.node < other.node ? -1 : 1)
  );
}
