/**
 * Whoever a client claims to be in its headers, the apiserver sees the user of the token and nobody else. The requests are written as
 * raw bytes where a library would tidy them up; the apiserver records the lines that reach it.
 */
import { describe, expect, test } from "vitest";
import { agentToken } from "#test/support/scripted-apiserver.ts";
import type { SeenRequest } from "#test/support/scripted-apiserver.ts";
import { openSocket } from "#test/support/client-socket.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { rawAsk } from "#test/support/raw-connection.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

const podPath = "/k/one/api/v1/namespaces/web/pods/p";
const proxyPath = "/k/one/api/v1/namespaces/web/services/app/proxy/page";

/** The identity lines that reached the apiserver. */
function identityOf(request: SeenRequest | undefined): readonly (readonly [string, string])[] {
  return (request?.headers ?? []).filter(([name]) => name.toLowerCase().startsWith("impersonate"));
}

function names(request: SeenRequest | undefined): readonly string[] {
  return (request?.headers ?? []).map(([name]) => name.toLowerCase());
}

const alice = [["Impersonate-User", "oidc:alice"]];

async function head(path: string, lines: readonly string[], token?: string): Promise<string[]> {
  return [`GET ${path} HTTP/1.1`, "Host: localhost", `Authorization: Bearer ${token ?? (await system.cluster.token("alice"))}`, ...lines];
}

describe("identity headers of a client", () => {
  const claims: readonly (readonly [string, readonly string[]])[] = [
    ["a user and a group", ["Impersonate-User: admin", "Impersonate-Group: system:masters"]],
    ["odd case, repeated", ["IMPERSONATE-user: admin", "impersonate-GROUP: a", "Impersonate-Group: system:masters"]],
    ["a uid", ["Impersonate-User: admin", "Impersonate-Uid: 0"]],
    ["extras, one with an escape", ["Impersonate-User: admin", "Impersonate-Extra-Scopes: all", "Impersonate-Extra-%66oo: all"]],
  ];

  test.each(claims)("are refused without the right to impersonate: %s", async (name, lines) => {
    system.apiserver.review = () => false;
    // A user for each case: what was reviewed is remembered for a while.
    const answer = await rawAsk(system.gateway, await head(podPath, lines, await system.cluster.token(name)));
    expect(answer?.status).toBe(403);
    expect(system.apiserver.reviews[0]).toMatchObject({
      user: `oidc:${name}`,
      resourceAttributes: { verb: "impersonate", resource: "users", name: "admin" },
    });
    expect(system.apiserver.seen).toEqual([]);
  });

  test.each([
    ["a group without a user", ["Impersonate-Group: system:masters"]],
    ["an empty user", ["Impersonate-User: "]],
    ["an empty uid", ["Impersonate-User: a", "Impersonate-Uid:"]],
    ["an extra without a user", ["Impersonate-Extra-Scopes: all"]],
    ["the gateway's own extra", ["Impersonate-User: admin", "Impersonate-Extra-Sallyport.dev%2foriginal-User: root"]],
  ])("are refused when they are not whole: %s", async (_name, lines) => {
    const answer = await rawAsk(system.gateway, await head(podPath, lines));
    expect(answer?.status).toBe(400);
    expect(system.apiserver.seen).toEqual([]);
  });

  test("that mean nothing to Kubernetes reach no apiserver", async () => {
    const lines = ["Impersonate-Anything: x", "Impersonate_User: admin", "Impersonate: admin"];
    const answer = await rawAsk(system.gateway, await head(podPath, lines));
    expect(answer?.status).toBe(200);
    expect(identityOf(system.apiserver.seen[0])).toEqual(alice);
  });

  test("that only some of the asked things are allowed for are refused whole", async () => {
    system.apiserver.review = (spec) => JSON.stringify(spec).includes('"users"');
    const answer = await rawAsk(system.gateway, await head(podPath, ["Impersonate-User: bob", "Impersonate-Group: system:masters"]));
    expect(answer?.status).toBe(403);
    expect(system.apiserver.seen).toEqual([]);
  });

  test("twice are one name to the edge, which must be allowed as it is", async () => {
    system.apiserver.review = (spec) => !JSON.stringify(spec).includes('"bob, admin"');
    const answer = await rawAsk(system.gateway, await head(podPath, ["Impersonate-User: bob", "Impersonate-User: admin"]));
    expect(answer?.status).toBe(403);
    expect(system.apiserver.seen).toEqual([]);
  });

  test("run the request as somebody else once every review allows it, and name who asked", async () => {
    const lines = ["Impersonate-User: carol", "Impersonate-Group: ops", "Impersonate-Extra-Reason: repair"];
    const answer = await rawAsk(system.gateway, await head(podPath, lines));
    expect(answer?.status).toBe(200);
    expect(identityOf(system.apiserver.seen[0])).toEqual([
      ["Impersonate-User", "carol"],
      ["Impersonate-Group", "ops"],
      ["Impersonate-Extra-reason", "repair"],
      ["Impersonate-Extra-sallyport.dev%2Foriginal-user", "oidc:alice"],
    ]);
    const asked = system.apiserver.reviews.map((spec) => spec["resourceAttributes"]);
    expect(asked).toMatchObject([
      { resource: "users", name: "carol" },
      { resource: "groups", name: "ops" },
      { resource: "userextras", subresource: "reason", name: "repair" },
    ]);
  });
});

describe("headers that would change what the apiserver believes", () => {
  test("cannot be taken away by Connection", async () => {
    const lines = ["Connection: Impersonate-User, Impersonate-Group, Authorization, Audit-ID"];
    const answer = await rawAsk(system.gateway, await head(podPath, lines, await system.cluster.token("alice", { groups: ["dev"] })));
    expect(answer?.status).toBe(200);
    expect(identityOf(system.apiserver.seen[0])).toEqual([...alice, ["Impersonate-Group", "oidc:dev"]]);
    expect(names(system.apiserver.seen[0])).toEqual(expect.arrayContaining(["authorization", "audit-id"]));
  });

  test.each([podPath, proxyPath])("of front proxies and addresses do not pass: %s", async (path) => {
    const foreign = [
      ...["X-Remote-User: admin", "X-Remote-Group: system:masters", "X-Remote-Extra-Scopes: all", "X-Remote-Uid: 0"],
      ...["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Uri: /", "X-Real-Ip: 6.6.6.6", "Forwarded: for=6.6.6.6", "Audit-ID: mine"],
      ...["Cf-Access-Jwt-Assertion: x", "X-Auth-Request-User: admin", "X_Remote_User: admin", "Impersonate_User: admin"],
    ];
    const answer = await rawAsk(system.gateway, await head(path, foreign));
    expect(answer?.status).toBe(200);
    const [seen] = system.apiserver.seen;
    expect(
      names(seen).filter((name) => /^x-remote|^x_|_|^cf-|^x-auth|^forwarded$|^x-real-ip$|^x-forwarded-(?!host$|proto$)/.test(name)),
    ).toEqual([]);
    expect(JSON.stringify(seen?.headers)).not.toMatch(/6\.6\.6\.6|mine|admin/);
    const auditIds = seen?.headers.filter(([name]) => name.toLowerCase() === "audit-id");
    expect(auditIds).toEqual([[expect.anything(), expect.stringMatching(/^[0-9a-f-]{36}$/)]]);
    expect(answer?.headers).toContainEqual(["audit-id", auditIds?.[0]?.[1]]);
  });

  test.each([
    ["two Authorization lines", ["Authorization: Bearer TOKEN", "Authorization: Bearer TOKEN"]],
    ["Basic", ["Authorization: Basic YTpi"]],
    ["a token twice in one line", ["Authorization: Bearer TOKEN, Bearer TOKEN"]],
    ["two spaces", ["Authorization: Bearer  TOKEN"]],
    ["no token", ["Authorization: Bearer"]],
    ["a token in the query only", []],
  ])("give one well-formed bearer token or are refused: %s", async (_name, lines) => {
    const token = await system.cluster.token("alice");
    const sent = [
      `GET ${podPath}?access_token=${token}&token=${token} HTTP/1.1`,
      "Host: localhost",
      ...lines.map((line) => line.replaceAll("TOKEN", token)),
    ];
    const answer = await rawAsk(system.gateway, sent);
    expect(answer?.status).toBe(401);
    expect(system.apiserver.seen).toEqual([]);
  });

  test("take the scheme in any case, and the apiserver gets the agent's credential once", async () => {
    const token = await system.cluster.token("alice");
    const answer = await rawAsk(system.gateway, [`GET ${podPath} HTTP/1.1`, "Host: localhost", `authorization: bEARER ${token}`]);
    expect(answer?.status).toBe(200);
    expect(system.apiserver.seen[0]?.headers.filter(([name]) => name.toLowerCase() === "authorization")).toEqual([
      [expect.anything(), `Bearer ${agentToken}`],
    ]);
  });

  test("sent as trailers of a request never reach the apiserver", async () => {
    const lines = ["Trailer: Impersonate-User", "Transfer-Encoding: chunked", "Content-Type: application/json"];
    const request = (await head("", lines)).with(0, "POST /k/one/api/v1/namespaces/web/pods HTTP/1.1");
    const answer = await rawAsk(system.gateway, request, "2\r\n{}\r\n0\r\nImpersonate-User: admin\r\n\r\n");
    expect([200, 400]).toContain(answer?.status);
    expect(system.apiserver.seen.map((seen) => identityOf(seen)).filter((found) => found.length !== 1)).toEqual([]);
    expect(system.apiserver.bytes()).not.toContain("admin");
  });

  test("sent as trailers of an answer are dropped", async () => {
    system.apiserver.onRequest = (_request, response) => {
      response.writeHead(200, { trailer: "Impersonate-User, Set-Cookie" });
      response.write("{}");
      response.addTrailers({ "Impersonate-User": "admin", "Set-Cookie": "a=b" });
      response.end();
    };
    const answer = await rawAsk(system.gateway, await head(podPath, []));
    expect(answer).toMatchObject({ status: 200 });
    expect(`${JSON.stringify(answer?.headers)}${answer?.body}`).not.toMatch(/admin|a=b|trailer/i);
  });

  test("of an answer cannot take the gateway's own away", async () => {
    system.apiserver.onRequest = (_request, response) =>
      void response
        .writeHead(200, {
          ...{ connection: "Cache-Control, Audit-ID, Server-Timing, X-Hop", "x-hop": "1", "keep-alive": "timeout=9" },
          ...{ "proxy-authenticate": "Basic", "cache-control": "public, max-age=60", "audit-id": "theirs" },
        })
        .end("{}");
    const answer = await rawAsk(system.gateway, await head(podPath, []));
    const headers = new Map(answer?.headers);
    expect(headers.get("cache-control")).toMatch(/private/);
    expect(headers.get("audit-id")).not.toBe("theirs");
    expect(headers.has("server-timing")).toBe(true);
    expect([...headers.keys()]).not.toEqual(expect.arrayContaining(["x-hop"]));
    expect(headers.has("proxy-authenticate") || headers.has("x-hop")).toBe(false);
  });
});

describe("what reaches an apiserver or an application", () => {
  test.each([podPath, proxyPath])("never holds the user's token or a cookie of the gateway: %s", async (path) => {
    const token = await system.cluster.token("alice");
    await rawAsk(system.gateway, await head(path, ["Cookie: __Host-sallyport-session=secret; theirs=1"], token));
    await system.apiserver.whenSeen(() => true);
    expect(system.apiserver.bytes()).not.toContain(token.split(".")[2]);
    expect(system.apiserver.bytes()).not.toContain("secret");
  });

  test("never holds a token that came as a WebSocket sub-protocol", async () => {
    const token = await system.cluster.token("alice");
    system.apiserver.onUpgrade = (request, socket, first) => void acceptWebSocket(request, socket, first, "v5.channel.k8s.io");
    const carrier = `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString("base64url")}`;
    const client = await openSocket(system.gateway, `${podPath}/exec?command=id&stdout=true`, {
      protocols: ["v5.channel.k8s.io", carrier],
    });
    expect(client.protocol).toBe("v5.channel.k8s.io");
    const [seen] = system.apiserver.seen;
    expect(seen?.headers.filter(([name]) => name.toLowerCase() === "sec-websocket-protocol")).toEqual([
      [expect.anything(), "v5.channel.k8s.io"],
    ]);
    expect(system.apiserver.bytes()).not.toContain("bearer.authorization");
    client.socket.terminate();
  });

  test.each(["bób", "боб@пример.рф", "用户"])("is the username as it is, on plain requests and on exec: %s", async (name) => {
    const token = await system.cluster.token(name);
    const expected = [["Impersonate-User", Buffer.from(`oidc:${name}`, "utf8").toString("latin1")]];
    await ask(system.gateway, podPath, { token });
    system.apiserver.onUpgrade = (request, socket, first) => void acceptWebSocket(request, socket, first, "v5.channel.k8s.io");
    const client = await openSocket(system.gateway, `${podPath}/exec?command=id&stdout=true`, { token, protocols: ["v5.channel.k8s.io"] });
    expect(system.apiserver.seen.map((request) => identityOf(request))).toEqual([expected, expected]);
    client.socket.terminate();
  });

  test("has each group on a line of its own, in order, commas and all", async () => {
    const groups = Array.from({ length: 50 }, (_, index) => (index % 7 === 0 ? `team, ${index}` : `team-${index}`));
    await ask(system.gateway, podPath, { token: await system.cluster.token("alice", { groups }) });
    expect(identityOf(system.apiserver.seen[0])).toEqual([...alice, ...groups.map((group) => ["Impersonate-Group", `oidc:${group}`])]);
  });
});
