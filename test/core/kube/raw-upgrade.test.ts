import { describe, expect, test } from "vitest";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import {
  isIdleSpdyUpgrade,
  rawProtocol,
  rawUpgradeHeader,
  rawUpgradeLine,
  rawUpgradeProblem,
  readMeantRequest,
} from "#core/kube/raw-upgrade.ts";
import { classifyUpgrade } from "#core/kube/upgrade.ts";

const webSocket: HeaderPairs = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Version", "13"],
];
const carrier: HeaderPairs = [...webSocket, ["Sec-WebSocket-Protocol", rawProtocol]];
const asked: readonly [string, string] = [rawUpgradeHeader, "POST SPDY/3.1"];

describe("a request is meant as it says it is", () => {
  test.each<[string, string, HeaderPairs]>([
    ["a plain one", "DELETE", []],
    ["a WebSocket", "GET", [...webSocket, ["Sec-WebSocket-Protocol", "v5.channel.k8s.io"]]],
    ["one whose sub-protocols are malformed", "GET", [...webSocket, ["Sec-WebSocket-Protocol", "a b"]]],
  ])("%s", (_name, method, headers) => {
    expect(readMeantRequest(method, headers)).toEqual({ method, raw: undefined, problem: undefined });
  });

  test.each<[string, HeaderPairs]>([
    ["alone", [...carrier, asked]],
    [
      "beside a bearer token in a sub-protocol",
      [
        ...webSocket,
        ["sec-websocket-protocol", `base64url.bearer.authorization.k8s.io.eA, ${rawProtocol}`],
        ["sallyport-upgrade", "POST SPDY/3.1"],
      ],
    ],
  ])("as what a WebSocket carries: %s", (_name, headers) => {
    expect(readMeantRequest("GET", headers)).toEqual({ method: "POST", raw: { method: "POST", protocol: "SPDY/3.1" }, problem: undefined });
  });

  test("in the line that its writer makes", () => {
    const upgrade = { method: "GET", protocol: "foo/1" };
    expect(readMeantRequest("GET", [...carrier, [rawUpgradeHeader, rawUpgradeLine(upgrade)]]).raw).toEqual(upgrade);
  });

  test.each<[string, string, HeaderPairs]>([
    ["the header without the sub-protocol", "GET", [...webSocket, asked]],
    ["the header on a plain request", "GET", [asked]],
    ["the sub-protocol without the header", "GET", carrier],
    ["another sub-protocol beside", "GET", [...webSocket, ["Sec-WebSocket-Protocol", `${rawProtocol}, v5.channel.k8s.io`], asked]],
    ["two headers", "GET", [...carrier, asked, asked]],
    ["two in one header", "GET", [...carrier, [rawUpgradeHeader, "POST SPDY/3.1, GET foo"]]],
    ["an Origin", "GET", [...carrier, asked, ["Origin", "null"]]],
    ["a POST around it", "POST", [...carrier, asked]],
    ["no upgrade around it", "GET", [["Sec-WebSocket-Protocol", rawProtocol], asked]],
    ["two upgrades around it", "GET", [...carrier, ["Upgrade", "h2c"], asked]],
    [
      "another version of WebSocket",
      "GET",
      [["Upgrade", "websocket"], ["Sec-WebSocket-Version", "8"], ["Sec-WebSocket-Protocol", rawProtocol], asked],
    ],
    ["a method that upgrades nothing", "GET", [...carrier, [rawUpgradeHeader, "CONNECT SPDY/3.1"]]],
    ["no method", "GET", [...carrier, [rawUpgradeHeader, "SPDY/3.1"]]],
    ["nothing", "GET", [...carrier, [rawUpgradeHeader, ""]]],
  ])("or is refused: %s", (_name, method, headers) => {
    expect(readMeantRequest(method, headers)).toEqual({ method, raw: undefined, problem: expect.any(String) });
  });
});

const pod = "/api/v1/namespaces/a/pods/p";

function problem(line: string, protocol: string): string | undefined {
  const [method = "", target = ""] = line.split(" ");
  const request = parseRequest(method, target);
  if (request.type === "invalid") throw new Error(`not a request: ${line}`);
  const found = rawUpgradeProblem(request, protocol);
  expect(classifyUpgrade(request, carrier, { method, protocol }).type).toBe(found === undefined ? "raw" : "refused");
  return found;
}

describe("an upgrade to SPDY that Kubernetes passes over", () => {
  test.each<[string, string, boolean]>([
    [`GET ${pod}`, "SPDY/3.1", true],
    ["DELETE /api/v1/namespaces/a/pods/p", "spdy/3.1", true],
    ["GET /api/v1/pods?watch=1", "SPDY/3.1", true],
    ["GET /version", "SPDY/3.1", true],
    [`POST ${pod}/exec`, "SPDY/3.1", false],
    ["POST /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/v/portforward/22", "SPDY/3.1", false],
    [`GET ${pod}/proxy/x`, "SPDY/3.1", false],
    ["GET /api/v1/proxy/namespaces/a/pods/p/x", "SPDY/3.1", false],
    [`GET ${pod}`, "websocket", false],
    [`GET ${pod}`, "h2c", false],
  ])("%s to %s: %j", (line, protocol, wanted) => {
    const [method = "", target = ""] = line.split(" ");
    const request = parseRequest(method, target);
    if (request.type === "invalid") throw new Error(`not a request: ${line}`);
    expect(isIdleSpdyUpgrade(request, protocol)).toBe(wanted);
  });
});

describe("what is carried", () => {
  test.each([
    [`POST ${pod}/exec`, "SPDY/3.1"],
    [`GET ${pod}/attach`, "spdy/3.1"],
    [`POST ${pod}/portforward`, "SPDY/3.1"],
    ["POST /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/v/portforward/22", "SPDY/3.1"],
    ["POST /api/v1/nodes/n/proxy/exec/a/b/c", "SPDY/3.1"],
    [`GET ${pod}:80/proxy/x`, "foo"],
    ["POST /api/v1/namespaces/a/services/https:s:443/proxy/", "my-protocol/2.0"],
  ])("%s to %s", (line, protocol) => {
    expect(problem(line, protocol)).toBeUndefined();
  });

  test.each([
    [`POST ${pod}/exec`, "SPDY/3"],
    [`POST ${pod}/exec`, "SPDY/2"],
    [`POST ${pod}/exec`, "foo"],
    [`GET ${pod}/exec`, "websocket"],
    ["GET /version", "SPDY/3.1"],
    ["GET /api/v1/nodes/n/proxy/x", "foo"],
    ...["h2c", "H2C", "h2", "HTTP/2.0", "http/1.1", "https", "TLS/1.3", "WebSocket", "websocket/13"].map((protocol) => [
      `GET ${pod}/proxy/x`,
      protocol,
    ]),
    ...["", "/", "a/", "/a", "a/b/c", "a b", "a,b", "a\r\nb", "x".repeat(65)].map((protocol) => [`GET ${pod}/proxy/x`, protocol]),
    [`PUT ${pod}/proxy/x`, "foo"],
  ])("and never %s to %s", (line = "", protocol = "") => {
    expect(problem(line, protocol)).toEqual(expect.any(String));
  });
});

test("a forward is dialled by the agent, and upgrades to nothing", () => {
  const request = parseRequest("GET", "/apis/forward.sallyport.dev/v1/nodes/n1/tcp?port=22");
  if (request.type === "invalid") throw new Error(request.message);
  expect(classifyUpgrade(request, carrier, { method: "GET", protocol: "SPDY/3.1" })).toMatchObject({ type: "refused" });
});
