import { describe, expect, test } from "vitest";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import { failureStatus } from "#core/kube/status.ts";
import { endFrames } from "#core/kube/stream-end.ts";
import { classifyUpgrade, protocolFraming } from "#core/kube/upgrade.ts";
import type { UpgradeKind } from "#core/kube/upgrade.ts";

function request(line: string): KubeRequest {
  const [method = "", target = ""] = line.split(" ");
  const parsed = parseRequest(method, target);
  if (parsed.type === "invalid") throw new Error(`not a request: ${line}`);
  return parsed;
}

const pod = "/api/v1/namespaces/a/pods/p";
const exec = request(`GET ${pod}/exec?command=sh`);
const webSocket: HeaderPairs = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Version", "13"],
];

describe("an upgrade to WebSocket is carried", () => {
  test.each<[string, UpgradeKind]>([
    [`GET ${pod}/exec`, "exec"],
    [`GET ${pod}/attach`, "attach"],
    [`GET ${pod}/portforward`, "portforward"],
    [`GET ${pod}/log`, "log"],
    ["GET /api/v1/pods?watch=1", "watch"],
    [`GET ${pod}/proxy/socket`, "proxy"],
    ["GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/v/console", "other"],
    [`GET ${pod}`, "other"],
    ["GET /version", "other"],
  ])("%s carries %s", (line, kind) => {
    expect(classifyUpgrade(request(line), [...webSocket, ["Sec-WebSocket-Protocol", "b, a"]])).toEqual({
      type: "websocket",
      kind,
      protocols: ["b", "a"],
    });
  });

  test("the bearer sub-protocol is no sub-protocol, and Upgrade's case does not matter", () => {
    const headers: HeaderPairs = [
      ["upgrade", "WebSocket"],
      ["Sec-WebSocket-Version", "13"],
      ["sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io"],
    ];
    expect(classifyUpgrade(exec, headers)).toEqual({ type: "websocket", kind: "exec", protocols: ["v5.channel.k8s.io"] });
  });
});

describe("an upgrade to SPDY is told what to use instead", () => {
  const spdy: HeaderPairs = [
    ["Connection", "Upgrade"],
    ["Upgrade", "SPDY/3.1"],
    ["X-Stream-Protocol-Version", "v5.channel.k8s.io"],
  ];
  const stripped: HeaderPairs = [["X-Stream-Protocol-Version", "v4.channel.k8s.io"]];

  test.each<[string, HeaderPairs]>([
    [`POST ${pod}/exec`, spdy],
    [`GET ${pod}/exec`, spdy],
    [`POST ${pod}/portforward`, spdy],
    [`POST ${pod}/attach`, stripped],
    [`GET ${pod}/attach`, stripped],
    [`POST ${pod}/exec`, []],
    [`POST ${pod}/exec`, [["Upgrade", "websocket, SPDY/3.1"]]],
    [`POST ${pod}/proxy/x`, [["Upgrade", "spdy/3.1"]]],
  ])("%s %j", (line, headers) => {
    expect(classifyUpgrade(request(line), headers)).toEqual(expect.objectContaining({ type: "spdy", code: "UPGRADE_UNSUPPORTED" }));
  });
});

describe("no other upgrade is carried", () => {
  test.each<[HeaderPairs]>([
    [
      [
        ["Upgrade", "h2c"],
        ["HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"],
      ],
    ],
    [[["Upgrade", "websocket, h2c"]]],
    [
      [
        ["Upgrade", "websocket"],
        ["Upgrade", "h2c"],
      ],
    ],
    [
      [
        ["Upgrade", "websocket"],
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "13"],
      ],
    ],
    [[["Upgrade", "foo"]]],
    [[["Upgrade", "TLS/1.0"]]],
    [[["Upgrade", "websocket"]]],
    [
      [
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "8"],
      ],
    ],
    [[...webSocket, ["Sec-WebSocket-Version", "13"]]],
    [[...webSocket, ["Sec-WebSocket-Protocol", "a b"]]],
    [[...webSocket, ["Sec-WebSocket-Protocol", "a, a"]]],
  ])("%j", (headers) => {
    expect(classifyUpgrade(exec, headers)).toEqual(expect.objectContaining({ type: "refused", code: "REQUEST_INVALID" }));
  });

  test("a WebSocket is opened by GET only", () => {
    expect(classifyUpgrade(request(`POST ${pod}/exec`), webSocket).type).toBe("refused");
  });

  test.each(["GET /version", `GET ${pod}/exec`, `POST ${pod}`, `POST ${pod}/proxy/x`])("%s without Upgrade is no upgrade", (line) => {
    expect(
      classifyUpgrade(request(line), [
        ["HTTP2-Settings", "x"],
        ["Connection", "HTTP2-Settings"],
      ]),
    ).toEqual({ type: "none" });
  });
});

describe("how a stream that the gateway ends is ended", () => {
  const failure = failureStatus("SESSION_ENDED", "the token has expired");
  const json = JSON.stringify(failure);
  const binary = (text: string): object => ({ type: "binary", bytes: Uint8Array.of(3, ...new TextEncoder().encode(text)) });
  const closeReason = failure.message.slice(0, 123);

  test.each<[UpgradeKind, string]>([
    ["exec", "v5.channel.k8s.io"],
    ["attach", "v5.channel.k8s.io"],
    ["exec", "v4.channel.k8s.io"],
  ])("%s over %s gets its Status on channel 3, then 1000", (kind, protocol) => {
    expect(endFrames({ kind, protocol }, failure)).toEqual({ messages: [binary(json)], closeCode: 1000, closeReason });
  });

  test("base64 channels get it as text", () => {
    const [message] = endFrames({ kind: "exec", protocol: "v4.base64.channel.k8s.io" }, failure).messages;
    expect(message).toEqual({ type: "text", text: `3${btoa(json)}` });
  });

  test.each(["", "channel.k8s.io"])("the first protocol (%j) gets words, and no success", (protocol) => {
    expect(endFrames({ kind: "exec", protocol }, failure)).toEqual({ messages: [binary(failure.message)], closeCode: 1011, closeReason });
  });

  test("and so does its base64 form", () => {
    expect(endFrames({ kind: "attach", protocol: "base64.channel.k8s.io" }, failure)).toEqual({
      messages: [{ type: "text", text: `3${btoa(failure.message)}` }],
      closeCode: 1011,
      closeReason,
    });
  });

  test.each<[UpgradeKind, string]>([
    ["portforward", "SPDY/3.1+portforward.k8s.io"],
    ["portforward", "v4.channel.k8s.io"],
    ["log", "binary.k8s.io"],
    ["log", ""],
    ["proxy", ""],
    ["other", "v5.channel.k8s.io"],
    ["exec", "unknown"],
  ])("%s over %j has no place for a Status: 1011", (kind, protocol) => {
    expect(endFrames({ kind, protocol }, failure)).toEqual({ messages: [], closeCode: 1011, closeReason });
  });

  test("a watch ends cleanly, because its client resumes", () => {
    expect(endFrames({ kind: "watch", protocol: "" }, failure)).toEqual({ messages: [], closeCode: 1000, closeReason });
  });

  test("a close reason fits its frame and holds ASCII only", () => {
    const { closeReason: reason } = endFrames({ kind: "log", protocol: "" }, { ...failure, message: "é\n".repeat(500) });
    expect(reason).toBe("??".repeat(62).slice(0, 123));
  });

  test("no failure ever ends an exec or attach with 1000 and no Status", () => {
    const protocols = [
      "",
      "channel.k8s.io",
      "base64.channel.k8s.io",
      "v4.channel.k8s.io",
      "v4.base64.channel.k8s.io",
      "v5.channel.k8s.io",
      "x",
    ];
    const ends = protocols.map((protocol) => ({
      end: endFrames({ kind: "exec", protocol }, failure),
      framing: protocolFraming("exec", protocol),
    }));
    const silent = ends.filter(
      ({ end, framing }) =>
        end.closeCode === 1000 && !(framing?.type === "channels" && framing.errors === "status" && end.messages.length === 1),
    );
    expect(silent).toEqual([]);
  });
});
