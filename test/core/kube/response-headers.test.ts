import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { privateCacheControl, sanitizeResponseHeaders } from "#core/kube/response-headers.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";

function request(target: string): KubeRequest {
  const parsed = parseRequest("GET", target);
  if (parsed.type === "invalid") throw new Error(`not a request: ${target}`);
  return parsed;
}

const api = request("/apis");
const proxied = request("/api/v1/namespaces/a/services/s/proxy/x");
const sealed: HeaderPairs = [["Cache-Control", "private, no-transform"]];
const sandboxed: HeaderPairs = [
  ...sealed,
  ["Content-Security-Policy", "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"],
  ["X-Content-Type-Options", "nosniff"],
];

function sanitize(headers: HeaderPairs, target = api): unknown {
  const result = sanitizeResponseHeaders({ request: target, headers, publicOrigin: "https://prod.gateway.example" });
  return result.type === "headers" ? result.headers : result.code;
}

describe("an answer's headers", () => {
  test("go on in order, warnings and other repeated lines apart", () => {
    const headers: HeaderPairs = [
      ["Content-Type", "application/json"],
      ["Warning", '299 - "a"'],
      ["Audit-Id", "x"],
      ["Warning", '299 - "b"'],
      ["Content-Encoding", "gzip"],
      ["ETag", '"x"'],
      ["X-Kubernetes-Pf-Flowschema-Uid", "1"],
      ["Content-Length", "5"],
      ["Vary", "Accept"],
    ];
    expect(sanitize(headers)).toEqual([...headers, ...sealed]);
  });

  test("lose the hop's fields and what Connection names, and Connection cannot name what we add", () => {
    const headers: HeaderPairs = [
      ["Connection", "X-Hop, Cache-Control, Content-Security-Policy, X-Content-Type-Options"],
      ["X-Hop", "1"],
      ["Keep-Alive", "5"],
      ["Transfer-Encoding", "chunked"],
      ["Trailer", "Impersonate-User"],
      ["Upgrade", "h2c"],
      ["Proxy-Authenticate", "x"],
    ];
    expect(sanitize(headers)).toEqual(sealed);
    expect(sanitize(headers, proxied)).toEqual(sandboxed);
  });

  test("do not speak for the gateway's host or to its caches", () => {
    const headers: HeaderPairs = [
      ["CDN-Cache-Control", "public"],
      ["Cloudflare-CDN-Cache-Control", "max-age=60"],
      ["Surrogate-Control", "max-age=60"],
      ["Alt-Svc", 'h3=":443"'],
      ["Strict-Transport-Security", "max-age=1; includeSubDomains"],
      ["Clear-Site-Data", '"*"'],
      ["Service-Worker-Allowed", "/"],
      ["Refresh", "0; url=https://evil.example"],
      ["Sallyport-Anything", "x"],
    ];
    expect(sanitize(headers)).toEqual(sealed);
    expect(sanitize(headers, proxied)).toEqual(sandboxed);
  });

  test("an application's cookies pass unless they take the gateway's names or a parent domain; the API sets none", () => {
    const cookie = (value: string): HeaderPairs => [["Set-Cookie", value]];
    expect(sanitize(cookie("app=1; Path=/"), proxied)).toEqual([...cookie("app=1; Path=/"), ...sandboxed]);
    expect(sanitize(cookie("__Host-sallyport-session=x; Path=/; Secure"), proxied)).toEqual(sandboxed);
    expect(sanitize(cookie(" CF_Authorization=x"), proxied)).toEqual(sandboxed);
    expect(sanitize(cookie("app=1; Domain=gateway.example"), proxied)).toEqual(sandboxed);
    expect(sanitize(cookie("app=1"))).toEqual(sealed);
  });

  test("an application cannot replace the sandbox", () => {
    const headers: HeaderPairs = [
      ["Content-Security-Policy", "default-src 'self'"],
      ["X-Content-Type-Options", "sniff"],
    ];
    expect(sanitize(headers, proxied)).toEqual([["Content-Security-Policy", "default-src 'self'"], ...sandboxed]);
  });

  test.each<HeaderPairs>([
    [["X", "a\nb"]],
    [["a b", "x"]],
    [["X", "Ā"]],
    [
      ["Content-Length", "1"],
      ["Content-Length", "1"],
    ],
    [["Content-Length", "1, 2"]],
    [["Content-Length", "+1"]],
  ])("%j is refused", (...headers) => {
    expect(sanitize(headers)).toBe("UPSTREAM_INVALID");
  });
});

describe("Cache-Control", () => {
  test.each([
    [[], "private, no-transform"],
    [["no-cache, private"], "no-cache, private, no-transform"],
    [["public"], "private, no-transform"],
    [["public, max-age=31536000, immutable"], "max-age=31536000, private, no-transform"],
    [["PUBLIC", "S-MaxAge=5, Max-Age=3"], "Max-Age=3, private, no-transform"],
    [["s-maxage=60,stale-while-revalidate=5"], "stale-while-revalidate=5, private, no-transform"],
    [["no-store"], "no-store, private, no-transform"],
    [['private="set-cookie, public"'], "private, no-transform"],
    [['no-cache="a, public", public'], 'no-cache="a, public", private, no-transform'],
    [['x"unbalanced, public'], "x, unbalanced, private, no-transform"],
    [["max-age=1 public, a=b c"], "private, no-transform"],
    [[" , ,;public=1,=,"], "private, no-transform"],
  ])("%j becomes %j", (values, wanted) => {
    expect(privateCacheControl(values)).toBe(wanted);
  });

  test("never lets a shared cache store the answer", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (values) => {
        const directives = privateCacheControl(values)
          .replaceAll(/"(?:[^"\\]|\\.)*"/g, "")
          .split(",")
          .map((directive) => directive.trim().toLowerCase());
        expect(directives).toContain("private");
        expect(directives.filter((directive) => /^(?:public|s-maxage|immutable)\b/.test(directive))).toEqual([]);
      }),
    );
  });
});

describe("Location", () => {
  test.each(["/openapi/v3/apis/apps/v1?hash=X", "/", "?continue=x", "", "https://prod.gateway.example/openapi/v3"])(
    "%j stays",
    (location) => {
      expect(sanitize([["Location", location]])).toEqual([["Location", location], ...sealed]);
    },
  );

  test.each([
    "https://evil.example/",
    "http://169.254.169.254/",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil",
    "/a\\b",
    "https:evil",
    "javascript:x",
    "/\tx",
    "/ x",
    "https://prod.gateway.example",
    "https://prod.gateway.example.evil/",
    "https://prod.gateway.example//evil",
    "https://prod.gateway.example@evil/",
    "http://prod.gateway.example/",
    "relative",
    "/é",
  ])("%j is refused on the API path and the application's own business under /proxy", (location) => {
    expect(sanitize([["Location", location]])).toBe("UPSTREAM_INVALID");
    expect(sanitize([["Location", location]], proxied)).toEqual([["Location", location], ...sandboxed]);
  });

  test("two are refused", () => {
    expect(
      sanitize([
        ["Location", "/a"],
        ["location", "/b"],
      ]),
    ).toBe("UPSTREAM_INVALID");
  });
});
