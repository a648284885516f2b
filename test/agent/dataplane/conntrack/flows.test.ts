import { expect, test } from "vitest";
import { ConntrackFlows } from "#agent/dataplane/conntrack/flows.ts";
import { reconcilePeriodMs } from "#agent/dataplane/conntrack/limits.ts";
import { createConntrackTable, type RunConntrack } from "#agent/dataplane/conntrack/tool.ts";
import { ManualClock } from "../../manual-clock.ts";
import { endpoint, servicePort, serviceTable } from "../userspace/tables.ts";
import { flowLine } from "./flows.ts";

const stale = { destination: "10.96.0.10", destinationPort: 53, replySource: "10.1.0.8", replySourcePort: 5353 };
const ipv4 = serviceTable([servicePort({ protocol: "UDP", clusterIp: "10.96.0.10", port: 53, endpoints: [endpoint(5353, "10.1.0.7")] })]);
const ipv6 = serviceTable(
  [servicePort({ family: "IPv6", protocol: "UDP", clusterIp: "fd00:96::a", port: 53, endpoints: [endpoint(5353, "fd00:1::7")] })],
  { family: "IPv6" },
);

function createFlows(run: RunConntrack): { readonly flows: ConntrackFlows; readonly clock: ManualClock; readonly periodic: string[] } {
  const clock = new ManualClock();
  const periodic: string[] = [];
  const flows = new ConntrackFlows({
    table: createConntrackTable(run),
    clock,
    isLocalAddress: () => false,
    onPeriodic: (family, outcome) => periodic.push(`${family} ${outcome.type}`),
  });
  return { flows, clock, periodic };
}

test("each family has its own entries, runs by the clock, and says what it deleted", async () => {
  const calls: string[] = [];
  const { flows, clock, periodic } = createFlows(async (args, onLine) => {
    calls.push(args.slice(0, 3).join(" "));
    if (args.includes("ipv4")) onLine(flowLine(stale));
    return { type: "ended", code: 0, stderr: "" };
  });
  expect([await flows.reconcile(ipv4), await flows.reconcile(ipv6), await flows.reconcile(ipv4)]).toEqual([1, 0, 0]);
  expect(calls).toEqual(["-L -f ipv4", "-D -f ipv4", "-L -f ipv6"]);
  clock.advance(reconcilePeriodMs);
  await flows.stop();
  expect(periodic.toSorted()).toEqual(["IPv4 reconciled", "IPv6 reconciled"]);
});

test("a kernel that refuses is an error with the tool's words", async () => {
  const { flows } = createFlows(async () => ({ type: "ended", code: 1, stderr: "Operation failed: sorry, you must be root" }));
  await expect(flows.reconcile(ipv4)).rejects.toThrow("sorry, you must be root");
});
