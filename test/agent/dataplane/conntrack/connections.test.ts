import { describe, expect, test } from "vitest";
import { countConnections } from "#agent/dataplane/conntrack/connections.ts";
import type { ToolEnd } from "#agent/dataplane/conntrack/tool.ts";
import { flowLine } from "./flows.ts";

const toWeb = { destination: "10.96.0.10", destinationPort: 80, replySource: "10.244.1.1", replySourcePort: 8080 };
const clusterIp = { family: "IPv4", protocol: "TCP", address: "10.96.0.10", port: 80 } as const;
const done: ToolEnd = { type: "ended", code: 0, stderr: "" };

/** A tool that prints some lines. */
function makeTool(lines: readonly string[], end: ToolEnd = done) {
  const calls: (readonly string[])[] = [];
  const run = async (args: readonly string[], onLine: (line: string) => void): Promise<ToolEnd> => {
    calls.push(args);
    for (const line of lines) onLine(line);
    return end;
  };
  return { run, calls };
}

function tcp(entry: typeof toWeb, client = 40_000): string {
  return flowLine(entry, "ipv4", client).replaceAll('protonum="17" protoname="udp"', 'protonum="6" protoname="tcp"');
}

describe("the connections to an address", () => {
  test("are counted for each endpoint, the one with most of them first", async () => {
    const other = { ...toWeb, replySource: "10.244.2.1" };
    const tool = makeTool(["<conntrack>", tcp(other), tcp(toWeb, 1), tcp(toWeb, 2), flowLine(toWeb), "</conntrack>"]);
    expect(await countConnections(tool.run, clusterIp)).toEqual({
      type: "counted",
      endpoints: [
        { address: "10.244.1.1", port: 8080, connections: 2 },
        { address: "10.244.2.1", port: 8080, connections: 1 },
      ],
    });
    expect(tool.calls).toEqual([
      ["-L", "-f", "ipv4", "-p", "tcp", "-w", "0", "-o", "xml", "--orig-dst", "10.96.0.10", "--orig-port-dst", "80"],
    ]);
  });

  test("at a node port of any address are those that were translated", async () => {
    const own = { destination: "203.0.113.9", destinationPort: 30_080, replySource: "203.0.113.9", replySourcePort: 30_080 };
    const tool = makeTool([tcp(own), tcp({ ...toWeb, destination: "192.168.0.1", destinationPort: 30_080 })]);
    const counted = await countConnections(tool.run, { ...clusterIp, address: undefined, port: 30_080 });
    expect(counted).toEqual({ type: "counted", endpoints: [{ address: "10.244.1.1", port: 8080, connections: 1 }] });
    expect(tool.calls[0]?.slice(-2)).toEqual(["--orig-port-dst", "30080"]);
  });

  test.each<readonly [string, ToolEnd, string]>([
    ["the program is missing", { type: "missing", message: "ENOENT" }, "install the package conntrack"],
    ["the right is missing", { type: "ended", code: 1, stderr: "Operation not permitted" }, "needs the capability NET_ADMIN"],
  ])("are not counted where %s, which is said", async (_what, end, said) => {
    expect(await countConnections(makeTool([], end).run, clusterIp)).toEqual({ type: "failed", message: expect.stringContaining(said) });
  });
});
