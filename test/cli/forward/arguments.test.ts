import { describe, expect, test } from "vitest";
import { forwardTargetOf, parseObjectChoice, parsePortMapping } from "#cli/forward/arguments.ts";

describe("a target", () => {
  test.each([
    ["web-0", "pod", "web-0"],
    ["pod/web-0", "pod", "web-0"],
    ["pods/web-0", "pod", "web-0"],
    ["po/web-0", "pod", "web-0"],
    ["svc/dns", "service", "dns"],
    ["Service/dns", "service", "dns"],
    ["deploy/web", "deployment", "web"],
    ["deployment/web", "deployment", "web"],
    ["deployments.apps/web", "deployment", "web"],
    ["node/n1.example", "node", "n1.example"],
    ["no/n1", "node", "n1"],
  ])("%s", (text, type, name) => {
    expect(parseObjectChoice(text)).toEqual({ type, name });
  });

  test.each(["", "secret/x", "svc/", "svc/A", "svc/a/b", "pod/../x", "/x", "svc/a b"])("%j is none", (text) => {
    expect(() => parseObjectChoice(text)).toThrow(expect.objectContaining({ failure: expect.objectContaining({ code: "USAGE" }) }));
  });
});

describe("a port", () => {
  test.each([
    ["80", undefined, { type: "number", port: 80 }, "tcp"],
    ["8080:80", 8080, { type: "number", port: 80 }, "tcp"],
    ["5353:53/udp", 5353, { type: "number", port: 53 }, "udp"],
    [":http", 0, { type: "name", name: "http" }, "tcp"],
    ["0:80", 0, { type: "number", port: 80 }, "tcp"],
    ["dns/UDP", undefined, { type: "name", name: "dns" }, "udp"],
  ])("%s", (text, localPort, remote, protocol) => {
    expect(parsePortMapping(text)).toEqual({ localPort, remote, protocol });
  });

  test.each(["", ":", "80:", "0", "65536", "65536:80", "80/sctp", "80:90:100", "a_b", "-1", "80/", "http:80"])("%j is none", (text) => {
    expect(() => parsePortMapping(text)).toThrow(expect.objectContaining({ failure: expect.objectContaining({ code: "USAGE" }) }));
  });
});

test("a node's target has no namespace", () => {
  const mapping = parsePortMapping("22");
  expect(forwardTargetOf({ type: "node", name: "n1" }, "web", mapping)).toEqual({
    type: "node",
    name: "n1",
    protocol: "tcp",
    port: { type: "number", port: 22 },
  });
  expect(forwardTargetOf({ type: "pod", name: "a" }, "web", mapping)).toMatchObject({ namespace: "web" });
});
