import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeHeaderText, isHeaderValue, isToken } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { maximumUserAgentBytes, originalUserExtra, writeRequestHeaders } from "#core/kube/impersonation.ts";
import type { RequestHeaderInput, RequestHeaders } from "#core/kube/impersonation.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import { userLimits } from "#core/kube/user-info.ts";

function request(target: string): KubeRequest {
  const parsed = parseRequest("GET", target);
  if (parsed.type === "invalid") throw new Error(`not a request: ${target}`);
  return parsed;
}

const api = request("/api/v1/namespaces/a/pods");
const proxied = request("/api/v1/namespaces/a/services/s/proxy/x");
const alice = { username: "alice", uid: "7", groups: ["dev", "ops"], extra: {} };

function input(changes: Partial<RequestHeaderInput>): RequestHeaderInput {
  return {
    request: api,
    clientHeaders: [],
    identity: alice,
    authorization: "Bearer agent",
    auditId: "id-1",
    clientIp: "192.0.2.1",
    ...changes,
  };
}

function write(changes: Partial<RequestHeaderInput>): HeaderPairs {
  const result = writeRequestHeaders(input(changes));
  if (result.type === "refused") throw new Error(result.message);
  return result.headers;
}

function refusalOf(changes: Partial<RequestHeaderInput>): RequestHeaders {
  return writeRequestHeaders(input(changes));
}

/** The values of a header, which names compare without case. */
function values(headers: HeaderPairs, name: string): readonly string[] {
  return headers.filter(([candidate]) => candidate.toLowerCase() === name).map(([, value]) => value);
}

const ourLines = [
  ["Audit-ID", "id-1"],
  ["X-Forwarded-For", "192.0.2.1"],
  ["Authorization", "Bearer agent"],
  ["Impersonate-User", "alice"],
  ["Impersonate-Uid", "7"],
  ["Impersonate-Group", "dev"],
  ["Impersonate-Group", "ops"],
];

describe("identity headers", () => {
  test("stand last, one line for each group", () => {
    expect(write({ clientHeaders: [["Accept", "application/json"]] })).toEqual([["Accept", "application/json"], ...ourLines]);
  });

  test("a group with a comma stays one line, and fifty groups stay fifty in order", () => {
    const groups = ["x, system:masters", ...Array.from({ length: 50 }, (_, index) => `g${index}`)];
    expect(values(write({ identity: { ...alice, groups } }), "impersonate-group")).toEqual(groups);
  });

  test("an empty uid writes no line", () => {
    expect(values(write({ identity: { ...alice, uid: "" } }), "impersonate-uid")).toEqual([]);
  });

  test.each(["zażółć", "боб@пример.рф", "用户", "bób", "👩‍💻"])("the name %s goes as its UTF-8 bytes", (username) => {
    const [value = ""] = values(write({ identity: { ...alice, username } }), "impersonate-user");
    expect(isHeaderValue(value)).toBe(true);
    expect(decodeHeaderText(value)).toBe(username);
  });

  test.each([
    ["scopes", "Impersonate-Extra-scopes"],
    ["example.com/foo", "Impersonate-Extra-example.com%2Ffoo"],
    ["100%", "Impersonate-Extra-100%25"],
    ["escapedᛄscopes", "Impersonate-Extra-escaped%E1%9B%84scopes"],
    ["a b:c", "Impersonate-Extra-a%20b%3Ac"],
  ])("the extra key %s is written as %s", (key, name) => {
    const extra = { [key]: ["one", "two, three"] };
    expect(write({ identity: { ...alice, extra } }).slice(-2)).toEqual([
      [name, "one"],
      [name, "two, three"],
    ]);
  });

  test("the true user of a request that runs as another goes on as an extra", () => {
    expect(write({ originalUser: "carol" }).at(-1)).toEqual(["Impersonate-Extra-sallyport.dev%2Foriginal-user", "carol"]);
  });
});

describe("identities that cannot be written exactly are refused", () => {
  const cannotStand = [
    "",
    " ",
    "  ",
    "a\n",
    "a\nImpersonate-Group: system:masters",
    "a\rb",
    "a\0b",
    "a\tb",
    "a\u0085b",
    "a\u2028b",
    " a",
    "a ",
    "a\u00a0",
    "\ud800",
    "é".repeat(userLimits.maxNameBytes / 2 + 1),
  ];

  test.each(cannotStand)("the username %j", (username) => {
    expect(refusalOf({ identity: { ...alice, username } })).toEqual(expect.objectContaining({ type: "refused", code: "IDENTITY_REFUSED" }));
  });

  test.each(cannotStand)("the group %j", (group) => {
    expect(refusalOf({ identity: { ...alice, groups: ["dev", group] } }).type).toBe("refused");
  });

  test.each(cannotStand.slice(1))("the uid %j and the original user %j", (text) => {
    expect(refusalOf({ identity: { ...alice, uid: text } }).type).toBe("refused");
    expect(refusalOf({ originalUser: text }).type).toBe("refused");
  });

  test.each(["", "Scopes", "a\nb", " a", originalUserExtra])("the extra key %j", (key) => {
    expect(refusalOf({ identity: { ...alice, extra: { [key]: ["x"] } } }).type).toBe("refused");
  });

  test("an extra value with a line feed", () => {
    expect(refusalOf({ identity: { ...alice, extra: { a: ["x\ny"] } } }).type).toBe("refused");
  });

  test("more groups or extra values than the limits, and not fewer", () => {
    const groups = Array.from({ length: userLimits.maxGroups + 1 }, (_, index) => `g${index}`);
    const extra = { a: Array.from({ length: userLimits.maxExtraValues + 1 }, () => "x") };
    expect(refusalOf({ identity: { ...alice, groups } }).type).toBe("refused");
    expect(refusalOf({ identity: { ...alice, groups: groups.slice(1) } }).type).toBe("headers");
    expect(refusalOf({ identity: { ...alice, extra } }).type).toBe("refused");
  });
});

/** What a client might send to be somebody else or somewhere else. */
const hostile: HeaderPairs = [
  ["Impersonate-User", "admin"],
  ["iMPERSONATE-gROUP", "system:masters"],
  ["Impersonate-Group", "system:masters"],
  ["impersonate-uid", "0"],
  ["Impersonate-Extra-Scopes", "all"],
  ["Impersonate-Extra-%66oo", "x"],
  ["Impersonate-Anything", "x"],
  ["Impersonate_User", "admin"],
  ["X-Remote-User", "admin"],
  ["x-remote-group", "system:masters"],
  ["X_Remote_User", "admin"],
  ["X-Remote-Extra-foo", "x"],
  ["X-Remote-Uid", "0"],
  ["X-Forwarded-For", "6.6.6.6"],
  ["X-Forwarded-Uri", "/x"],
  ["X-Forwarded-Host", "evil"],
  ["X-Forwarded-Client-Cert", "x"],
  ["X-Forwarded-User", "admin"],
  ["X_Forwarded_User", "admin"],
  ["X-Real-Ip", "6.6.6.6"],
  ["Forwarded", "for=6.6.6.6"],
  ["True-Client-IP", "6.6.6.6"],
  ["Audit-ID", "attacker-id"],
  ["Authorization", "Bearer user-token"],
  ["Proxy-Authorization", "Basic x"],
  ["Cf-Access-Jwt-Assertion", "user-token"],
  ["CF-Connecting-IP", "6.6.6.6"],
  ["X-Auth-Request-User", "admin"],
  ["x-kubernetes-peer-proxied", "true"],
  ["Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.dXNlci10b2tlbg"],
  ["Sec-WebSocket-Extensions", "permessage-deflate"],
  ["Sec-WebSocket-Key", "x"],
  ["Sallyport-Anything", "x"],
  ["Host", "evil"],
  ["Content-Length", "5"],
  ["Transfer-Encoding", "chunked"],
  ["Upgrade", "h2c"],
  ["HTTP2-Settings", "x"],
  ["TE", "trailers"],
  ["Trailer", "Impersonate-User"],
  ["Keep-Alive", "1"],
  ["Expect", "100-continue"],
];

describe("client headers", () => {
  test("of a hostile client leave nothing at the API, and nothing at a proxied application", () => {
    expect(write({ clientHeaders: hostile })).toEqual(ourLines);
    expect(write({ clientHeaders: hostile, request: proxied })).toEqual(ourLines);
  });

  test.each([api, proxied])("Connection cannot take our lines away, nor keep what it does not name", (target) => {
    const clientHeaders: HeaderPairs = [
      ["Connection", "Impersonate-User, impersonate-group,Authorization , Audit-ID, X-Forwarded-For, keep-alive"],
      ["Connection", "Accept"],
      ["Accept", "a/b"],
      ["If-Match", "x"],
    ];
    expect(write({ clientHeaders, request: target })).toEqual([["If-Match", "x"], ...ourLines]);
  });

  test("that mean something to the API go on, repeated ones apart, and others do not", () => {
    const passed: HeaderPairs = [
      ["Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"],
      ["accept", "application/json"],
      ["Accept-Encoding", "gzip"],
      ["Content-Type", "application/apply-patch+yaml"],
      ["If-None-Match", '"x"'],
      ["Kubectl-Command", "kubectl get"],
      ["Kubectl-Session", "1"],
      ["User-Agent", "kubectl/v1.34"],
      ["Cache-Control", "max-age=0"],
    ];
    const dropped: HeaderPairs = [
      ["Cookie", "a=b"],
      ["Origin", "https://x"],
      ["X-HTTP-Method-Override", "DELETE"],
      ["X-Custom", "1"],
    ];
    expect(write({ clientHeaders: [...dropped, ...passed] })).toEqual([...passed, ...ourLines]);
    expect(write({ clientHeaders: [...dropped, ...passed], request: proxied })).toEqual([...dropped, ...passed, ...ourLines]);
  });

  test("the gateway's and Access' cookies never reach an application", () => {
    const clientHeaders: HeaderPairs = [
      ["Cookie", "__Host-sallyport-session=s; app=1; CF_Authorization=jwt; theme=dark"],
      ["cookie", "sallyport=x; __cf_bm=y"],
    ];
    expect(values(write({ clientHeaders, request: proxied }), "cookie")).toEqual(["app=1; theme=dark"]);
  });

  test("a user agent is cut and made printable", () => {
    const [value = ""] = values(write({ clientHeaders: [["User-Agent", `a\xff\t${"b".repeat(1_000_000)}`]] }), "user-agent");
    expect(value).toBe(`a??${"b".repeat(maximumUserAgentBytes - 3)}`);
  });

  test.each([
    ["Accept", "a\nImpersonate-Group: system:masters"],
    ["X-Dropped", "a\rb"],
    ["Accept", "a\0"],
    ["Accept", "Ā"],
    ["Acc ept", "x"],
    ["Accept:", "x"],
    ["", "x"],
    ["Impersonate-User\n", "x"],
  ])("%j: %j refuses the request", (name, value) => {
    expect(refusalOf({ clientHeaders: [[name, value]] })).toEqual(expect.objectContaining({ type: "refused", code: "REQUEST_INVALID" }));
    expect(refusalOf({ clientHeaders: [[name, value]], request: proxied }).type).toBe("refused");
  });

  test.each(["Host", "Content-Type", "Content-Length", "User-Agent", "Origin"])("two lines of %s refuse the request", (name) => {
    expect(
      refusalOf({
        clientHeaders: [
          [name, "1"],
          [name.toLowerCase(), "1"],
        ],
      }).type,
    ).toBe("refused");
  });
});

describe("headers of the upgrade and of the gateway", () => {
  test("a WebSocket's sub-protocols are ours to offer, and its origin goes on", () => {
    const clientHeaders: HeaderPairs = [
      ["Connection", "Upgrade"],
      ["Upgrade", "websocket"],
      ["Sec-WebSocket-Key", "client"],
      ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"],
      ["Origin", "https://x"],
    ];
    const webSocketProtocols = ["v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"];
    const offer = ["Sec-WebSocket-Protocol", "v5.channel.k8s.io, SPDY/3.1+portforward.k8s.io"];
    expect(write({ clientHeaders, webSocketProtocols })).toEqual([["Origin", "https://x"], offer, ...ourLines]);
    expect(write({ clientHeaders, webSocketProtocols: [] })).toEqual([["Origin", "https://x"], ...ourLines]);
    expect(write({ clientHeaders })).toEqual(ourLines);
  });

  test("the stream protocols of SPDY are ours to offer, a line for each", () => {
    const clientHeaders: HeaderPairs = [
      ["X-Stream-Protocol-Version", "client"],
      ["Sallyport-Upgrade", "POST SPDY/3.1"],
      ["Origin", "https://x"],
    ];
    const offers = ["v4.channel.k8s.io", "v3.channel.k8s.io"].map((protocol) => ["X-Stream-Protocol-Version", protocol]);
    for (const asked of [undefined, proxied]) {
      const headers = write({
        clientHeaders,
        streamProtocols: ["v4.channel.k8s.io", "v3.channel.k8s.io"],
        ...(asked && { request: asked }),
      });
      expect(headers.filter(([name]) => /^(?:x-stream|sallyport)/i.test(name))).toEqual(offers);
    }
    expect(write({ clientHeaders })).toEqual(ourLines);
  });

  test.each([[["v4 channel"]], [["a,b"]], [["a\r\nb"]], [[""]], [Array.from({ length: 17 }, (_, index) => `v${index}`)]])(
    "stream protocols that are none are the client's fault: %j",
    (streamProtocols) => {
      expect(writeRequestHeaders(input({ streamProtocols }))).toMatchObject({ type: "refused", code: "REQUEST_INVALID" });
    },
  );

  test("an application is told the host and scheme that its user sees; the API is not", () => {
    const clientHost = "prod.gateway.example:8443";
    const told = [
      ["X-Forwarded-Host", clientHost],
      ["X-Forwarded-Proto", "https"],
    ];
    expect(write({ clientHost, request: proxied })).toEqual([...told, ...ourLines]);
    expect(write({ clientHost })).toEqual(ourLines);
    expect(write({ clientHost: "evil\n", request: proxied })).toEqual(ourLines);
    expect(write({ clientHost: "", request: proxied })).toEqual(ourLines);
  });

  test("an address that is none is left out, and an agent without a bearer token writes none", () => {
    const headers = write({ clientIp: "1.2.3.4, 5.6.7.8", authorization: undefined });
    expect(values(headers, "x-forwarded-for")).toEqual([]);
    expect(values(headers, "authorization")).toEqual([]);
  });

  test.each([
    { authorization: "Bearer x\n" },
    { authorization: "" },
    { authorization: "Bearer a, b" },
    { auditId: "a\r\nb" },
    { webSocketProtocols: ["a, b"] },
  ])("a value of the agent's own that no header can hold is a fault: %j", (changes) => {
    expect(() => writeRequestHeaders(input(changes))).toThrow("cannot be written as a header");
  });
});

describe("any headers and identity at all", () => {
  const name = fc.oneof(
    fc.constantFrom(...hostile.map(([hostileName]) => hostileName), "Connection", "Accept", "Cookie", "X-App"),
    fc.string(),
  );
  const value = fc.oneof(fc.constantFrom("Impersonate-User", "close, Authorization", "x"), fc.string({ unit: "binary" }));
  const text = fc.oneof(fc.constantFrom("alice", "дева", ""), fc.string({ unit: "binary", maxLength: 8 }));
  const identity = fc.record({
    username: text,
    uid: text,
    groups: fc.array(text, { maxLength: 4 }),
    extra: fc.dictionary(text, fc.array(text, { maxLength: 2 }), { maxKeys: 3 }),
  });

  test("are refused, or written with the identity intact and nothing of the client's under its names", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, value), { maxLength: 6 }),
        identity,
        fc.constantFrom(api, proxied),
        (clientHeaders, someone, target) => {
          const result = writeRequestHeaders(input({ clientHeaders, identity: someone, request: target }));
          if (result.type === "refused") return;
          const { headers } = result;
          expect(headers.every(([lineName, lineValue]) => isToken(lineName) && isHeaderValue(lineValue))).toBe(true);
          expect(values(headers, "impersonate-user").map(decodeHeaderText)).toEqual([someone.username]);
          expect(someone.username).not.toBe("");
          expect(values(headers, "impersonate-group").map(decodeHeaderText)).toEqual(someone.groups);
          expect(values(headers, "authorization")).toEqual(["Bearer agent"]);
          expect(values(headers, "audit-id")).toEqual(["id-1"]);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
