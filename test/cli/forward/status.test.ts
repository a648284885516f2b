/** What people are told while a forward runs. */
import { describe, expect, test } from "vitest";
import type { ForwardConnection } from "#cli/forward/connection.ts";
import { StatusLines } from "#cli/forward/status-lines.ts";
import { Traffic } from "#cli/forward/traffic.ts";

function connection(chosen: string, sentBytes = 0, receivedBytes = 0, droppedDatagrams = 0): ForwardConnection {
  return { chosen, sentBytes, receivedBytes, droppedDatagrams } as ForwardConnection; // what traffic is counted from
}

function stage() {
  const told: string[] = [];
  return { told, traffic: new Traffic("127.0.0.1:1 -> svc/a:80", "pods/w/a/80", { tell: (line) => told.push(line) }) };
}

describe("a port's traffic", () => {
  test("counts open and closed connections together", () => {
    const { traffic } = stage();
    const first = connection("pods/w/a/80", 10, 3 << 20, 2);
    traffic.opened(first);
    traffic.opened(connection("pods/w/a/80", 1_536, 0));
    traffic.closed(first, "");
    traffic.dropped(1);
    expect(traffic.describe()).toBe(
      "127.0.0.1:1 -> svc/a:80  pods/w/a/80  1 open, 2 in all, 1.5 KiB up, 3.0 MiB down, 3 datagrams dropped  ok",
    );
  });

  test("tells a failure once, that it is over, and another target", () => {
    const { told, traffic } = stage();
    traffic.failed("TARGET_UNREACHABLE: x");
    traffic.failed("TARGET_UNREACHABLE: x");
    expect(traffic.describe()).toContain("TARGET_UNREACHABLE: x");
    traffic.opened(connection("pods/w/b/80"));
    expect(told).toEqual([
      "127.0.0.1:1 -> svc/a:80: TARGET_UNREACHABLE: x",
      "127.0.0.1:1 -> svc/a:80: works again",
      "127.0.0.1:1 -> svc/a:80: now reaches pods/w/b/80",
    ]);
  });
});

describe("status lines", () => {
  test("on a terminal stand below what is told, and are written anew", () => {
    const written: string[] = [];
    const lines = new StatusLines({ write: (text) => written.push(text), isTerminal: true });
    lines.add(stage().traffic);
    lines.start();
    lines.tell("news");
    lines.stop();
    const status = `${stage().traffic.describe()}\n`;
    const up = "\u001b[1A\u001b[J";
    expect(written).toEqual([status, up, "news\n", status, up, status]);
  });

  test("elsewhere are not written at all", () => {
    const written: string[] = [];
    const lines = new StatusLines({ write: (text) => written.push(text), isTerminal: false });
    lines.add(stage().traffic);
    lines.start();
    lines.tell("news");
    lines.stop();
    expect(written).toEqual(["news\n"]);
  });
});
