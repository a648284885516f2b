/** The nodes' service proxies, as a table for people. */
import type { AgentState } from "#core/gateway-api.ts";
import { parseNodeStates, serviceProxyRole } from "#core/node-states.ts";
import type { NodeStatesReport } from "#core/node-states.ts";
import { toAge } from "./age.ts";
import type { ListingDetail } from "./format.ts";

/** The first report of a cluster's agents: all of them read the same. Nothing where none has one. */
export function describeNodes(agents: readonly AgentState[], nowMs: number | undefined): readonly ListingDetail[] {
  const report = agents.map(({ roles }) => parseNodeStates(roles[serviceProxyRole])).find(({ type }) => type === "parsed");
  return report?.type === "parsed" ? [toDetail(report.value, nowMs)] : [];
}

function toDetail(report: NodeStatesReport, nowMs: number | undefined): ListingDetail {
  return {
    columns: ["NODE", "SERVICE PROXY", "SINCE", "GENERATION", "LAST ERROR"],
    rows: report.listed.map(({ node, state, since, generation, lastError }) => [
      node,
      state,
      toAge(since, nowMs),
      String(generation),
      lastError ?? "",
    ]),
    notes: [...cutNotes(report), ...(report.lastError === undefined ? [] : [`The agent: ${report.lastError}`])],
  };
}

function cutNotes({ nodes, notSynced, listed }: NodeStatesReport): readonly string[] {
  const more = nodes - listed.length;
  if (more <= 0) return [];
  const troubled = notSynced - listed.filter(({ state }) => state !== "synced").length;
  return [`and ${more} more of ${nodes} nodes, ${Math.max(0, troubled)} of them not synced`];
}
