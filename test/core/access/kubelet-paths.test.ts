import { describe, expect, test } from "vitest";
import { isKubeletPathPattern, nodeProxyProblem } from "#core/access/kubelet-paths.ts";
import { parseRequest } from "#core/kube/request-path.ts";

interface Given {
  readonly method?: string;
  readonly isUpgrade?: boolean;
  readonly allowed?: readonly string[];
}

function problemOf(target: string, { method = "GET", isUpgrade = false, allowed = [] }: Given = {}): string | undefined {
  const request = parseRequest(method, target);
  if (request.type === "invalid") throw new Error(request.message);
  return nodeProxyProblem({ request, isUpgrade }, allowed);
}

const onNode = (path: string): string => `/api/v1/nodes/node1/proxy${path}`;

describe("behind nodes/proxy", () => {
  test.each([
    "/healthz",
    "/healthz/syncloop",
    "/metrics",
    "/metrics/cadvisor",
    "/stats/summary",
    "/pods",
    "/runningpods/",
    "/configz",
    "/logs/",
    "/logs/syslog?query=kubelet",
    "/containerLogs/web/p/c?follow=true",
  ])("reading passes: %s", (path) => {
    expect(problemOf(onNode(path))).toBeUndefined();
    expect(problemOf(onNode(path), { method: "HEAD" })).toBeUndefined();
  });

  test.each([
    "",
    "/",
    "/exec/web/p/c?command=id",
    "/run/web/p/c",
    "/attach/web/p/c",
    "/portForward/web/p",
    "/cri/exec/token",
    "/debug/pprof/heap",
    "/debug/flags/v",
    "/checkpoint/web/p/c",
    "/pods/x",
    "/metricsx",
    "/HEALTHZ",
  ])("what does more is refused: %s", (path) => {
    expect(problemOf(onNode(path))).toContain("nodes/proxy");
  });

  test.each([
    "/metrics/../exec/web/p/c",
    "/metrics/%2e%2e/exec/web/p/c",
    "/metrics/%2E%2E/exec",
    "/%65xec/web/p/c",
    "/metrics//exec",
    "//exec",
    "/metrics/./x",
    "/metrics/..",
    "/metrics/%2f..%2fexec",
    String.raw`/metrics/\..\exec`,
  ])("a path with two readings is refused: %s", (path) => {
    expect(problemOf(onNode(path))).toContain("without escapes");
  });

  test.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])("%s is more than reading", (method) => {
    expect(problemOf(onNode("/metrics"), { method })).toContain("only reading");
  });

  test("an upgrade is more than reading", () => {
    expect(problemOf(onNode("/containerLogs/web/p/c"), { isUpgrade: true })).toContain("only reading");
  });

  test("a port and a scheme change nothing, for only the node knows which port is its kubelet's", () => {
    expect(problemOf("/api/v1/nodes/https:node1:10250/proxy/exec/web/p/c")).toContain("nodes/proxy");
    expect(problemOf("/api/v1/nodes/node1:9100/proxy/exec")).toContain("nodes/proxy");
    expect(problemOf("/api/v1/nodes/node1:9100/proxy/metrics")).toBeUndefined();
  });

  test("what is allowed by name passes with every method, and nothing beside it", () => {
    const allowed = ["/run/*", "/debug/pprof/heap"];
    expect(problemOf(onNode("/run/web/p/c"), { method: "POST", allowed })).toBeUndefined();
    expect(problemOf(onNode("/debug/pprof/heap"), { allowed })).toBeUndefined();
    expect(problemOf(onNode("/debug/pprof/heap/x"), { allowed })).toBeDefined();
    expect(problemOf(onNode("/runx"), { allowed })).toBeDefined();
    expect(problemOf(onNode("/run/../exec/web/p/c"), { allowed })).toBeDefined();
  });

  test("everything may be allowed", () => {
    expect(problemOf(onNode("/exec/a%20b"), { isUpgrade: true, allowed: ["*"] })).toBeUndefined();
  });
});

test.each(["/api/v1/nodes/node1", "/api/v1/nodes/node1/status", "/api/v1/namespaces/a/pods/p/proxy/exec/x", "/metrics"])(
  "another request is no business of this rule: %s",
  (target) => {
    expect(problemOf(target)).toBeUndefined();
  },
);

test.each([
  ["*", true],
  ["/logs/*", true],
  ["/debug/pprof/heap", true],
  ["/", true],
  ["", false],
  ["logs/*", false],
  ["/a/*/b", false],
  ["**", false],
  ["/a/../b", false],
  ["/a%2fb", false],
  ["/a//b", false],
  ["/a b", false],
])("%j is a pattern: %s", (text, expected) => {
  expect(isKubeletPathPattern(text)).toBe(expected);
});
