import { describe, expect, test } from "vitest";
import { isFlow, parseFlow } from "#agent/dataplane/conntrack/entry.ts";
import { flowLine } from "./flows.ts";

const entry = { destination: "10.96.0.10", destinationPort: 53, replySource: "10.1.0.7", replySourcePort: 5353 };

describe("an entry of conntrack", () => {
  test("is read from the tool's XML", () => {
    expect(parseFlow(flowLine(entry))).toEqual(entry);
  });

  test("is read with counters, a mark and flags beside its tuples", () => {
    const counters = "<counters><packets>1</packets><bytes>31</bytes></counters></meta>";
    const line = flowLine(entry).replaceAll("</layer4></meta>", `</layer4>${counters}`).replace("<use>", "<assured/><use>");
    expect(parseFlow(line)).toEqual(entry);
  });

  test("is read for IPv6", () => {
    const ipv6 = { destination: "fd00:96::a", destinationPort: 53, replySource: "fd00:1::7", replySourcePort: 5353 };
    expect(parseFlow(flowLine(ipv6, "ipv6"))).toEqual(ipv6);
  });

  test.each([
    ["that is cut off", flowLine(entry).slice(0, -8)],
    ["of another protocol", flowLine(entry).replaceAll('protonum="17"', 'protonum="6"')],
    ["without a reply", flowLine(entry).replace('direction="reply"', 'direction="independent"')],
    ["of another zone", flowLine(entry).replace("<use>", "<zone>7</zone><use>")],
    ["with a zone for one direction", flowLine(entry).replace("<use>", "<zone-orig>7</zone-orig><use>")],
    ["with something else for an address", flowLine({ ...entry, destination: "--help" })],
    ["of text", "udp 17 29 src=10.1.0.2 dst=10.96.0.10 sport=1 dport=53"],
  ])("%s is not read at all", (_what, line) => {
    expect(parseFlow(line)).toBeUndefined();
  });

  test("is told apart from the document's frame", () => {
    expect(['<?xml version="1.0" encoding="utf-8"?>', "<conntrack>", flowLine(entry), "</conntrack>"].map(isFlow)).toEqual([
      false,
      false,
      true,
      false,
    ]);
  });
});
