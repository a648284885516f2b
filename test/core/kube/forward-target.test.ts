import { describe, expect, test } from "vitest";
import { forwardPath, parseForward, parsePortChoice } from "#core/kube/forward-target.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import { parseRequest } from "#core/kube/request-path.ts";

const group = "/apis/forward.sallyport.dev/v1";

function parse(target: string, method = "GET") {
  const request = parseRequest(method, target);
  return request.type === "invalid" ? ({ type: "unparsed" } as const) : parseForward(request);
}

describe("a forward's path", () => {
  const targets: readonly ForwardTarget[] = [
    { type: "pod", namespace: "web", name: "shop-5d9.x", protocol: "tcp", port: { type: "number", port: 65_535 } },
    { type: "service", namespace: "kube-system", name: "kube-dns", protocol: "udp", port: { type: "name", name: "dns" } },
    { type: "deployment", namespace: "web", name: "shop", protocol: "tcp", port: { type: "name", name: "a1-http" } },
    { type: "node", name: "n1.example", protocol: "tcp", port: { type: "number", port: 22 } },
  ];

  test.each(targets)("of $type/$name is read back as it was written", (target) => {
    expect(parse(forwardPath(target))).toEqual({ type: "forward", target });
  });

  test.each([
    ["another version", "/apis/forward.sallyport.dev/v2/nodes/n1/tcp?port=1"],
    ["no protocol", `${group}/namespaces/web/pods/a?port=1`],
    ["an unknown protocol", `${group}/namespaces/web/pods/a/sctp?port=1`],
    ["an unknown object", `${group}/namespaces/web/secrets/a/tcp?port=1`],
    ["more than the protocol", `${group}/namespaces/web/pods/a/tcp/x?port=1`],
    ["a slash behind it", `${group}/namespaces/web/pods/a/tcp/?port=1`],
    ["no namespace", `${group}/pods/a/tcp?port=1`],
    ["a node in a namespace", `${group}/namespaces/web/nodes/n1/tcp?port=1`],
    ["a namespace that is none", `${group}/namespaces/a.b/pods/a/tcp?port=1`],
    ["a name with capitals", `${group}/namespaces/web/pods/A/tcp?port=1`],
    ["an encoded colon in the name", `${group}/namespaces/web/pods/a%3A1/tcp?port=1`],
    ["a node's port by name", `${group}/nodes/n1/tcp?port=http`],
    ["no port", `${group}/nodes/n1/tcp`],
    ["port 0", `${group}/nodes/n1/tcp?port=0`],
    ["port 65536", `${group}/nodes/n1/tcp?port=65536`],
    ["a port with a zero before it", `${group}/nodes/n1/tcp?port=022`],
    ["two ports", `${group}/nodes/n1/tcp?port=22&port=23`],
    ["another parameter", `${group}/nodes/n1/tcp?port=22&address=169.254.169.254`],
    ["an encoded port", `${group}/nodes/n1/tcp?port=%32%32`],
    ["a watch", `${group}/watch/nodes/n1/tcp?port=22`],
  ])("with %s is invalid", (_what, target) => {
    expect(parse(target)).toMatchObject({ type: "invalid" });
  });

  test("is opened by GET alone", () => {
    expect(parse(`${group}/nodes/n1/tcp?port=22`, "POST")).toMatchObject({ type: "invalid" });
  });

  test.each(["/api/v1/nodes/n1", "/apis/apps/v1/namespaces/web/deployments/a", "/version", "/apis/forward.sallyport.dev"])(
    "%s is none",
    (target) => {
      expect(parse(target)).toEqual({ type: "none" });
    },
  );
});

describe("a port", () => {
  test.each([["1"], ["80"], ["65535"]])("%s is a number", (text) => {
    expect(parsePortChoice(text)).toEqual({ type: "number", port: Number(text) });
  });

  test.each([["http"], ["a"], ["dns-tcp"], ["8080-http"], ["abcdefghijklmno"]])("%s is a name", (name) => {
    expect(parsePortChoice(name)).toEqual({ type: "name", name });
  });

  test.each([["0"], ["65536"], [""], ["-a"], ["a-"], ["a--b"], ["A"], ["abcdefghijklmnop"], ["a_b"], ["1.3"], [" 80"]])(
    "%j is none",
    (text) => {
      expect(parsePortChoice(text)).toBeUndefined();
    },
  );
});
