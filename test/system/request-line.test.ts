/**
 * A request means to the gateway, to the agent and to the apiserver the same thing, or it is refused before the apiserver hears of it.
 * Targets are written as raw bytes: URL parsers would repair them.
 */
import { describe, expect, test } from "vitest";
import { rawAsk } from "#test/support/raw-connection.ts";
import { openSocket, refusedSocket } from "#test/support/client-socket.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

async function send(requestLine: string, lines: readonly string[] = ["Host: localhost"], body = "") {
  const token = await system.cluster.token("alice");
  return rawAsk(system.gateway, [requestLine, ...lines, `Authorization: Bearer ${token}`], body);
}

function targets(): readonly string[] {
  return system.apiserver.seen.map((request) => request.target);
}

describe("a path with two readings", () => {
  test.each([
    ...["/api/v1/namespaces/a%2fsecrets", "/api/v1/namespaces/a/secrets%2Fs", "/api/v1/%6eamespaces/a/secrets", "/%61pi/v1/pods"],
    ...["/api/v1//pods", "/api/v1/namespaces//secrets", "/api/v1/namespaces/a/pods;x=1", "/api/v1/namespaces/a%5cb/pods"],
    ...["/api/v1/namespaces/a%00/pods", "/api/v1/namespaces/a%0a/pods", "/api/v1/namespaces/a%252fb/pods", "/api/v1/pods/%c0%af"],
    ...["/api/v1/pods/%zz", "/api/v1/pods/%ff", "/api/v1/pods/a%3bb", "/api/v1/pods/a|b"],
  ])("is refused: %s", async (path) => {
    const answer = await send(`GET /k/one${path} HTTP/1.1`);
    expect(answer?.status).toBe(400);
    expect(JSON.parse(answer?.body ?? "")).toMatchObject({ kind: "Status", status: "Failure", code: 400 });
    expect(targets()).toEqual([]);
  });

  test.each([
    ["/api/v1/namespaces/a/pods/../secrets", "/api/v1/namespaces/a/secrets"],
    ["/api/v1/namespaces/a/pods/%2e%2e/secrets", "/api/v1/namespaces/a/secrets"],
    ["/api/v1/namespaces/a/./pods", "/api/v1/namespaces/a/pods"],
    ["/api/v1/namespaces/a\\pods", "/api/v1/namespaces/a/pods"],
  ])("that the edge has resolved is decided and forwarded resolved: %s", async (path, resolved) => {
    const answer = await send(`GET /k/one${path} HTTP/1.1`);
    expect(answer?.status).toBe(200);
    expect(targets()).toEqual([resolved]);
    const line = await system.agent.waitFor(new RegExp(String(new Map(answer?.headers).get("audit-id"))));
    expect(JSON.parse(line)).toMatchObject({ requestURI: resolved });
  });

  test("cannot climb out of its cluster", async () => {
    const answer = await send("GET /k/one/../two/api/v1/pods HTTP/1.1");
    expect(answer?.status).toBe(404);
    expect(targets()).toEqual([]);
  });
});

describe("a target", () => {
  test.each([
    "/api/v1/nodes/system%3Anode?pretty=true&x=%2f%00",
    "/apis/apps/v1/namespaces/a/deployments?fieldSelector=metadata.name%3Dweb&limit=500",
    "/api/v1/namespaces/a/services/https:app:443/proxy/a%2fb/..%2f/%00/;x?y=//z",
    "/apis/g/v1/namespaces/a/things/x+y,z'(1)",
    ...["/metrics", "/logs/", "/debug/pprof/heap", "/openapi/v3", "/version", "/healthz", "/.well-known/openid-configuration", "/"],
  ])("reaches the apiserver byte for byte: %s", async (target) => {
    const answer = await send(`GET /k/one${target} HTTP/1.1`);
    expect(answer?.status).toBe(200);
    expect(targets()).toEqual([target]);
    expect(system.apiserver.seen[0]?.headers).toContainEqual(["Impersonate-User", "oidc:alice"]);
  });

  test.each([
    ["/api/v1/pods?watch", "watch"],
    ["/api/v1/pods?watch=yes", "watch"],
    ["/api/v1/pods?watch=0", "list"],
    ["/api/v1/watch/pods", "watch"],
    ["/api/v1/namespaces/a/pods/p/proxy/x", "get"],
  ])("has the verb in both audit logs that the apiserver gives it: %s is %s", async (target, verb) => {
    const answer = await send(`GET /k/one${target} HTTP/1.1`);
    const line = await system.agent.waitFor(new RegExp(String(new Map(answer?.headers).get("audit-id"))));
    expect(JSON.parse(line)).toMatchObject({ verb, requestURI: target });
    expect(targets()).toEqual([target]);
  });

  test("longer than 16 KiB is too long", async () => {
    const answer = await send(`GET /k/one/api/v1/pods?x=${"a".repeat(17 << 10)} HTTP/1.1`);
    expect(answer?.status).toBe(414);
    expect(JSON.parse(answer?.body ?? "")).toMatchObject({ kind: "Status", code: 414 });
    expect(targets()).toEqual([]);
  });
});

describe("a method", () => {
  test.each(["OPTIONS", "TRACE", "PROPFIND"])("that the Kubernetes API does not have is refused: %s", async (method) => {
    const answer = await send(`${method} /k/one/api/v1/pods HTTP/1.1`);
    expect([405, 501]).toContain(answer?.status);
    expect(targets()).toEqual([]);
  });

  test.each(["CONNECT", "LIST", "get", "GE T"])("that is none is refused by the edge itself: %s", async (method) => {
    const answer = await send(`${method} /k/one/api/v1/pods HTTP/1.1`);
    expect(answer?.status ?? 0).not.toBe(200);
    expect(targets()).toEqual([]);
  });

  test("cannot be changed by a header", async () => {
    await send("GET /k/one/api/v1/namespaces/a/pods/p HTTP/1.1", ["Host: localhost", "X-HTTP-Method-Override: DELETE"]);
    expect(system.apiserver.seen).toMatchObject([{ method: "GET" }]);
    expect(system.apiserver.seen[0]?.headers.map(([name]) => name.toLowerCase())).not.toContain("x-http-method-override");
  });

  test.each(["OPTIONS", "PROPFIND"])("of its own may go to an application behind /proxy where the edge carries it: %s", async (method) => {
    const answer = await send(`${method} /k/one/api/v1/namespaces/a/services/app/proxy/x HTTP/1.1`);
    expect(answer?.status).toBe(200);
    expect(system.apiserver.seen).toMatchObject([{ method, target: "/api/v1/namespaces/a/services/app/proxy/x" }]);
  });

  test("TRACE goes to no application", async () => {
    const answer = await send("TRACE /k/one/api/v1/namespaces/a/services/app/proxy/x HTTP/1.1");
    expect([405, 501]).toContain(answer?.status);
    expect(targets()).toEqual([]);
  });
});

describe("a host", () => {
  test.each([
    ["a cluster's own host", "GET /api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost"]],
    ["with a port", "GET /api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost:443"]],
    ["in upper case", "GET /api/v1/pods HTTP/1.1", ["Host: ONE.K8S.LOCALHOST"]],
  ])("is one cluster: %s", async (_name, line, lines) => {
    const answer = await send(line, lines);
    expect(answer?.status).toBe(200);
    expect(targets()).toEqual(["/api/v1/pods"]);
  });

  test.each([
    ["two of them", "GET /api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost", "Host: two.k8s.localhost"]],
    ["an unknown cluster", "GET /api/v1/pods HTTP/1.1", ["Host: three.k8s.localhost"]],
    ["a name below a cluster's", "GET /api/v1/pods HTTP/1.1", ["Host: a.one.k8s.localhost"]],
    ["with user info", "GET /api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost@evil.example"]],
    ["with a trailing dot", "GET /api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost."]],
    ["in Punycode", "GET /api/v1/pods HTTP/1.1", ["Host: xn--ne-fka.k8s.localhost"]],
    ["the domain alone", "GET /api/v1/pods HTTP/1.1", ["Host: k8s.localhost"]],
    ["another site's", "GET /api/v1/pods HTTP/1.1", ["Host: evil.example"]],
    ["none", "GET /api/v1/pods HTTP/1.1", []],
  ])("that is not exactly a cluster's reaches none: %s", async (_name, line, lines) => {
    const answer = await send(line, lines);
    expect([400, 404, 421, undefined]).toContain(answer?.status);
    expect(targets()).toEqual([]);
  });

  test("in an absolute target and in Host never lead to two places", async () => {
    const answer = await send("GET http://two.k8s.localhost/api/v1/pods HTTP/1.1", ["Host: one.k8s.localhost"]);
    expect(answer?.status === 200 ? targets() : []).toEqual(targets());
    expect(targets().every((target) => target === "/api/v1/pods")).toBe(true);
  });
});

describe("an exec, attach or port-forward by GET", () => {
  const streams = ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=80"];

  test.each(streams)("needs the right to create it, whatever the apiserver would say: %s", async (stream) => {
    system.apiserver.review = (spec) => JSON.stringify(spec).includes('"get"');
    const token = await system.cluster.token(`reader of ${stream}`);
    const refused = await refusedSocket(system.gateway, `/k/one/api/v1/namespaces/web/pods/p/${stream}`, {
      token,
      protocols: ["v5.channel.k8s.io"],
    });
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.body).message).toContain("cannot create resource");
    expect(system.apiserver.reviews).toMatchObject([
      {
        user: `oidc:reader of ${stream}`,
        groups: ["system:authenticated"],
        resourceAttributes: { verb: "create", resource: "pods", subresource: stream.split("?")[0], namespace: "web", name: "p" },
      },
    ]);
    expect(targets()).toEqual([]);
  });

  test.each(streams)("opens with it: %s", async (stream) => {
    system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, "v5.channel.k8s.io");
    const token = await system.cluster.token(`user of ${stream}`);
    const opened = await openSocket(system.gateway, `/k/one/api/v1/namespaces/web/pods/p/${stream}`, {
      token,
      protocols: ["v5.channel.k8s.io"],
    });
    expect(opened.protocol).toBe("v5.channel.k8s.io");
    expect(targets()).toEqual([`/api/v1/namespaces/web/pods/p/${stream}`]);
    opened.socket.terminate();
  });

  test("is refused when the cluster cannot be asked", async () => {
    system.apiserver.review = () => {
      throw new Error("the authorizer is away");
    };
    const token = await system.cluster.token("user of a broken authorizer");
    const refused = await refusedSocket(system.gateway, "/k/one/api/v1/namespaces/web/pods/p/exec?command=id", {
      token,
      protocols: ["v5.channel.k8s.io"],
    });
    expect(refused.status).toBeGreaterThanOrEqual(403);
    expect(targets()).toEqual([]);
  });

  test("for somebody else is asked for that other user", async () => {
    system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, "v5.channel.k8s.io");
    const token = await system.cluster.token("an operator");
    const headers = { "Impersonate-User": "bob" };
    const opened = await openSocket(system.gateway, "/k/one/api/v1/namespaces/web/pods/p/exec?command=id", {
      token,
      headers,
      protocols: ["v5.channel.k8s.io"],
    });
    expect(system.apiserver.reviews).toMatchObject([
      { user: "oidc:an operator", resourceAttributes: { verb: "impersonate", name: "bob" } },
      { user: "bob", resourceAttributes: { verb: "create", subresource: "exec" } },
    ]);
    opened.socket.terminate();
  });
});
