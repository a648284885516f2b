import { describe, expect, test } from "vitest";
import { isDiscovery, isLongRunning, isUpgradeSubresource, streamClass } from "#core/kube/request-class.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";

function request(line: string): KubeRequest {
  const [method = "", target = ""] = line.split(" ");
  const parsed = parseRequest(method, target);
  if (parsed.type === "invalid") throw new Error(`not a request: ${line}`);
  return parsed;
}

const pod = "/api/v1/namespaces/a/pods/p";

describe("the lane of a request", () => {
  test.each([
    ["GET /api/v1/pods?watch=1", "interactive", true],
    ["GET /api/v1/watch/pods", "interactive", true],
    [`GET ${pod}/exec?tty=true&command=sh`, "interactive", true],
    [`GET ${pod}/attach?tty=1`, "interactive", true],
    [`GET ${pod}/exec?tty=false`, "bulk", true],
    [`GET ${pod}/exec?command=tar`, "bulk", true],
    [`GET ${pod}/portforward`, "bulk", true],
    [`GET ${pod}/proxy/x`, "bulk", true],
    ["GET /api/v1/proxy/nodes/n", "bulk", true],
    [`GET ${pod}/log?follow=true`, "normal", true],
    [`GET ${pod}/log`, "bulk", true],
    ["GET /api/v1/pods", "bulk", false],
    ["GET /api/v1/pods?fieldSelector=metadata.name%3Dp", "normal", false],
    [`GET ${pod}`, "normal", false],
    ["POST /api/v1/namespaces/a/pods", "normal", false],
    ["DELETE /api/v1/namespaces/a/pods", "normal", false],
    ["GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/v/exec?tty=1", "normal", true],
    ["GET /version", "normal", false],
    ["GET /debug/pprof/profile", "normal", true],
  ])("%s is %s", (line, lane, longRunning) => {
    expect(streamClass(request(line))).toBe(lane);
    expect(isLongRunning(request(line))).toBe(longRunning);
  });
});

describe("upgrade subresources", () => {
  test.each([
    [`GET ${pod}/exec`, true],
    [`POST ${pod}/attach`, true],
    [`GET ${pod}/portforward`, true],
    [`GET ${pod}/log`, false],
    [`GET ${pod}/proxy/exec`, false],
    [`GET ${pod}`, false],
    ["GET /apis/x/v1/namespaces/a/pods/p/exec", false],
    ["GET /api/v1/namespaces/a/services/p/exec", false],
    ["GET /version", false],
  ])("%s: %s", (line, wanted) => {
    expect(isUpgradeSubresource(request(line))).toBe(wanted);
  });
});

describe("discovery", () => {
  test.each([
    ["GET /api", true],
    ["GET /api/", true],
    ["GET /apis?timeout=32s", true],
    ["GET /api/v1", true],
    ["GET /apis/apps", true],
    ["GET /apis/apps/v1", true],
    ["GET /openapi/v2", true],
    ["GET /openapi/v3", true],
    ["GET /openapi/v3/apis/apps/v1?hash=A", true],
    ["GET /version", true],
    ["POST /version", false],
    ["GET /versions", false],
    ["GET /openapi/v4", false],
    ["GET /healthz", false],
    ["GET /metrics", false],
    ["GET /api/v1/pods", false],
  ])("%s: %s", (line, wanted) => {
    expect(isDiscovery(request(line))).toBe(wanted);
  });
});
