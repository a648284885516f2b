import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bearerProtocolPrefix, maximumTokenBytes, parseCredentials } from "#core/kube/credentials.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";

const bearer = (token: string): string => bearerProtocolPrefix + btoa(token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const protocol = (list: string): readonly [string, string] => ["Sec-WebSocket-Protocol", list];

describe("one well-formed bearer token is read", () => {
  test.each<[HeaderPairs, string, readonly string[]]>([
    [[["Authorization", "Bearer a.b-c_d~e+f/g=="]], "a.b-c_d~e+f/g==", []],
    [[["authorization", "bEARER abc"]], "abc", []],
    [[["Authorization", "Bearer abc"], protocol("v5.channel.k8s.io")], "abc", ["v5.channel.k8s.io"]],
    [[protocol(`${bearer("a.b.c")}, v4.channel.k8s.io`)], "a.b.c", ["v4.channel.k8s.io"]],
    [[protocol(`v5.channel.k8s.io,${bearer("tok")} , v4.channel.k8s.io`)], "tok", ["v5.channel.k8s.io", "v4.channel.k8s.io"]],
    [[protocol("SPDY/3.1+portforward.k8s.io"), protocol(bearer("tokn"))], "tokn", ["SPDY/3.1+portforward.k8s.io"]],
    [[["Authorization", `Bearer ${"a".repeat(maximumTokenBytes)}`]], "a".repeat(maximumTokenBytes), []],
  ])("%j", (headers, token, protocols) => {
    expect(parseCredentials(headers)).toEqual({ type: "bearer", token, protocols });
  });
});

describe("no credential is no credential", () => {
  test.each<[HeaderPairs, readonly string[]]>([
    [[], []],
    [
      [
        ["Cookie", "token=x"],
        ["Proxy-Authorization", "Bearer x"],
        ["X-Authorization", "Bearer x"],
      ],
      [],
    ],
    [[protocol("v5.channel.k8s.io, channel.k8s.io")], ["v5.channel.k8s.io", "channel.k8s.io"]],
  ])("%j", (headers, protocols) => {
    expect(parseCredentials(headers)).toEqual({ type: "none", protocols });
  });
});

describe("anything else is refused, never taken for no credential", () => {
  test.each<[HeaderPairs]>([
    [[["Authorization", ""]]],
    [[["Authorization", "Bearer"]]],
    [[["Authorization", "Bearer "]]],
    [[["Authorization", "Bearer  abc"]]],
    [[["Authorization", " Bearer abc"]]],
    [[["Authorization", "Bearer abc "]]],
    [[["Authorization", "Bearer\tabc"]]],
    [[["Authorization", "Bearer a b"]]],
    [[["Authorization", "Bearer a, Bearer b"]]],
    [[["Authorization", "Bearer a,b"]]],
    [[["Authorization", "Bearer a\nb"]]],
    [[["Authorization", "Bearer =a"]]],
    [[["Authorization", "Bearer é"]]],
    [[["Authorization", "Basic YTpi"]]],
    [[["Authorization", "Negotiate abc"]]],
    [[["Authorization", "abc"]]],
    [[["Authorization", `Bearer ${"a".repeat(maximumTokenBytes + 1)}`]]],
    [
      [
        ["Authorization", "Bearer a"],
        ["authorization", "Bearer a"],
      ],
    ],
    [
      [
        ["Authorization", "Bearer a"],
        ["Authorization", "Basic b"],
      ],
    ],
    [[["Authorization", "Bearer a"], protocol(`${bearer("abc")}, x`)]],
    [[protocol(bearer("abc"))]],
    [[protocol(`${bearer("abc")}, ${bearer("abc")}, x`)]],
    [[protocol(`${bearerProtocolPrefix}, x`)]],
    [[protocol(`${bearerProtocolPrefix}YWJj=, x`)]],
    [[protocol(`${bearerProtocolPrefix}YW+j, x`)]],
    [[protocol(`${bearerProtocolPrefix}YWJjZ, x`)]],
    [[protocol(`${bearerProtocolPrefix}YWJ, x`)]],
    [[protocol(`${bearer("\xff\xfe")}, x`)]],
    [[protocol(`${bearer("a b")}, x`)]],
    [[protocol("a b")]],
    [[protocol("a,,b")]],
    [[protocol("a, a")]],
    [[protocol("")]],
    [[protocol(Array.from({ length: 17 }, (_, index) => `p${index}`).join(","))]],
  ])("%j", (headers) => {
    expect(parseCredentials(headers).type).toBe("invalid");
  });

  test("any header text is read without throwing, and a token read holds nothing but its alphabet", () => {
    const name = fc.constantFrom("Authorization", "Sec-WebSocket-Protocol");
    const value = fc.oneof(
      fc.string(),
      fc.string().map((text) => `Bearer ${text}`),
      fc.string().map((text) => `${bearerProtocolPrefix}${text}, x`),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 3 }), (headers) => {
        const credentials = parseCredentials(headers);
        expect(credentials.type !== "bearer" || /^[\w\-.~+/]+=*$/.test(credentials.token)).toBe(true);
        expect(credentials.type !== "invalid" && credentials.protocols.some((offered) => offered.startsWith(bearerProtocolPrefix))).toBe(
          false,
        );
      }),
    );
  });
});
