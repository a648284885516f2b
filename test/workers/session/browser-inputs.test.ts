import { describe, expect, test } from "vitest";
import { readClientSecrets } from "#workers/session/client-secrets.ts";
import { clearCookie, readCookie, setCookie } from "#workers/session/cookies.ts";
import { listLogins, listSiblings } from "#workers/session/logins.ts";
import { parseReturnPath } from "#workers/session/return-path.ts";
import { isSameSecret } from "#workers/session/secret.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";

const secret = "s".repeat(43);
const name = "__Host-sallyport-session";

describe("the cookie", () => {
  test.each<[string, string | undefined]>([
    [`${name}=${secret}`, secret],
    [`a=b; ${name}=${secret}; c=d`, secret],
    [`a=b,${name}=${secret}`, secret],
    ["", undefined],
    [`${name}=`, undefined],
    [`${name}=short`, undefined],
    [`${name}=${secret}x`, undefined],
    [`${name}="${secret}"`, undefined],
    [`${name.toLowerCase()}=${secret}`, undefined],
    [`sallyport-session=${secret}`, undefined],
    [`x${name}=${secret}`, undefined],
    [`${name}=${secret}; ${name}=${secret}`, undefined],
    [`${name}=${secret}; ${name} =${"t".repeat(43)}`, undefined],
    [`${name}=${secret}; ${name}`, secret],
  ])("in %j is %j", (cookie, value) => expect(readCookie(new Headers({ cookie }), "session")).toBe(value));

  test("is set for this host alone, and taken away by the same words", () => {
    expect(setCookie("session", secret, 1_500)).toBe(`${name}=${secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=1`);
    expect(clearCookie("session")).toBe(`${name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0`);
  });
});

test.each<[string | undefined, string]>([
  [undefined, "/"],
  ["/", "/"],
  ["/session", "/session"],
  ["/session?a=b", "/session?a=b"],
  ["/session#x", "/session"],
  ["//evil.example/session", "/"],
  ["/\\evil.example/session", "/"],
  ["/\t/evil.example", "/"],
  ["/session\u0000", "/"],
  ["/sessiön", "/"],
  ["https://gateway.example/session", "/"],
  ["/sign-in", "/"],
  ["/k/one/", "/"],
  ["/x/../k/one/", "/"],
])("the return path %j leads to %s", (text, path) => expect(parseReturnPath(text, "https://gateway.example")).toBe(path));

test.each([
  ["a", "a", true],
  ["a", "b", false],
  ["a", "ab", false],
  ["", "", true],
  ["", "a", false],
])("%j and %j are the same secret: %j", (left, right, same) => expect(isSameSecret(left, right)).toBe(same));

function record(cluster: string, issuer: string, clientId: string): ClusterRecord {
  const login = { issuer, clientId, scopes: ["openid"] };
  return { registration: { name: cluster, login } } as unknown as ClusterRecord; // all that is read of it
}

test("each client of an issuer is offered once, none over plain http, and its siblings are the same issuer's others", () => {
  const issuer = "https://login.example";
  const records = [
    record("a", issuer, "one"),
    record("b", issuer, "one"),
    record("c", issuer, "two"),
    record("d", "http://login.example", "x"),
  ];
  const logins = listLogins(records, { issuer: "https://admins.example", clientId: "gateway", scopes: [] });
  expect(logins.map(({ clientId }) => clientId)).toEqual(["one", "two", "gateway"]);
  expect(listSiblings(logins, { issuer, clientId: "one", scopes: [] }).map(({ clientId }) => clientId)).toEqual(["two"]);
});

describe("client secrets", () => {
  const env = (text: string | undefined) => ({ LOGIN_CLIENT_SECRETS: text });
  const login = { issuer: "https://login.example", clientId: "one", scopes: [] };

  test("are found for the issuer and the client together, and nowhere else", () => {
    const secretOf = readClientSecrets(env(JSON.stringify({ [login.issuer]: { one: "s3cret" } })));
    expect(secretOf(login)).toBe("s3cret");
    expect(secretOf({ ...login, clientId: "two" })).toBeUndefined();
    expect(secretOf({ ...login, issuer: "https://other.example" })).toBeUndefined();
    expect(readClientSecrets(env(undefined))(login)).toBeUndefined();
  });

  test.each(["x", "[]", '"s"', '{"https://login.example": "s"}', '{"https://login.example": {"one": ""}}', '{"a": {"b": 1}}'])(
    "%s is refused without being shown",
    (text) => expect(() => readClientSecrets(env(text))).toThrow('LOGIN_CLIENT_SECRETS must be {"<issuer>": {"<client id>": "<secret>"}}'),
  );
});
