import { describe, expect, it } from "vitest";
import { parseExecInfo, renderExecCredential } from "#cli/session/exec-credential.ts";
import { isSafeForSecrets, parseGatewayUrl } from "#cli/session/gateway-url.ts";
import { parseRedirectUri } from "#cli/session/loopback-login.ts";
import { resolvePaths } from "#cli/session/paths.ts";
import { decodeTokenClaims, isBearerToken } from "#cli/session/token-claims.ts";
import { makeToken } from "../support/token.ts";

describe("parseGatewayUrl", () => {
  it.each([
    ["gw.example.com", "https://gw.example.com"],
    ["gw.example.com:8443", "https://gw.example.com:8443"],
    ["https://GW.example.com/", "https://gw.example.com"],
    ["http://127.0.0.1:8787", "http://127.0.0.1:8787"],
    ["http://localhost", "http://localhost"],
    ["http://[::1]:80", "http://[::1]"],
  ])("takes %s as %s", (text, url) => {
    expect(parseGatewayUrl(text)).toEqual({ type: "parsed", url });
  });

  it.each([
    "",
    "http://gw.example.com",
    "http://127.0.0.1.example.com",
    "https://user:secret@gw.example.com",
    "https://gw.example.com/path",
    "https://gw.example.com/?q",
    "https://gw.example.com/#f",
    "ftp://gw.example.com",
    "javascript:alert(1)",
    "a b",
  ])("refuses %j", (text) => {
    expect(parseGatewayUrl(text).type).toBe("invalid");
  });
});

describe("isSafeForSecrets", () => {
  it.each([
    ["https://issuer.example.com/token", true],
    ["http://127.0.0.1:3000/token", true],
    ["http://issuer.example.com/token", false],
    ["http://127.0.0.1@evil.example.com/", false],
    ["http://1270.0.0.1/", false],
    ["file:///etc/passwd", false],
    ["nonsense", false],
  ])("%s: %s", (url, isSafe) => {
    expect(isSafeForSecrets(url)).toBe(isSafe);
  });
});

describe("parseRedirectUri", () => {
  it.each(["http://127.0.0.1:0/callback", "http://localhost:8000/", "http://[::1]:9/cb"])("takes %s", (text) => {
    expect(parseRedirectUri(text)?.href).toBeDefined();
  });

  it.each(["https://localhost/", "http://0.0.0.0/", "http://192.168.1.2/", "http://localhost.example.com/", "http://localhost/?x=1"])(
    "refuses %s",
    (text) => {
      expect(parseRedirectUri(text)).toBeUndefined();
    },
  );
});

describe("decodeTokenClaims", () => {
  it("reads what is shown", () => {
    expect(decodeTokenClaims(makeToken())).toMatchObject({
      issuer: "https://issuer.example.com",
      audiences: ["prod-audience"],
      displayName: "lee@example.com",
    });
  });

  it.each([
    [{ aud: ["a", 1, "b"] }, { audiences: ["a", "b"] }],
    [{ exp: "soon" }, { expiresAtMs: undefined }],
    [{ exp: 1e300 }, { expiresAtMs: 253_402_300_799_000 }],
    [{ exp: -5 }, { expiresAtMs: 0 }],
    [{ email: 7 }, { displayName: "lee" }],
  ])("takes odd claims %j for what they are", (claims, wanted) => {
    expect(decodeTokenClaims(makeToken({ claims }))).toMatchObject(wanted);
  });

  it.each(["", "a", "a.b.c", "e30.e30", "e30.e30.e30.e30.e30", "e30.W10.x", "ø.e30.x"])("answers nothing for %j", (text) => {
    expect(decodeTokenClaims(text)).toBeUndefined();
  });
});

describe("isBearerToken", () => {
  it.each([
    ["abc.DEF-_~+/==", true],
    ["", false],
    ["a b", false],
    ["a\nb", false],
    ["a\u0000", false],
    ["=a", false],
    ["tökén", false],
  ])("%j: %s", (text, isToken) => {
    expect(isBearerToken(text)).toBe(isToken);
  });
});

describe("the exec credential protocol", () => {
  it.each([
    [undefined, false],
    ["", false],
    ['{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":true}}', true],
    ['{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":"yes"}}', false],
    ['{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}', false],
  ])("reads %s as interactive: %s", (text, isInteractive) => {
    expect(parseExecInfo(text)).toEqual({ type: "parsed", isInteractive });
  });

  it("writes whole seconds of RFC 3339, and no expiry for a token that tells none", () => {
    expect(JSON.parse(renderExecCredential("t", 1_800_000_000_999))).toMatchObject({
      status: { token: "t", expirationTimestamp: "2027-01-15T08:00:00Z" },
    });
    expect(JSON.parse(renderExecCredential("t", undefined))).toMatchObject({ status: { token: "t" } });
    expect(renderExecCredential("t", undefined)).not.toContain("expirationTimestamp");
  });
});

describe("resolvePaths", () => {
  it.each([
    [{}, "/home/lee/.local/state/sallyport"],
    [{ XDG_STATE_HOME: "/var/lee" }, "/var/lee/sallyport"],
    [{ XDG_STATE_HOME: "relative" }, "/home/lee/.local/state/sallyport"],
    [{ LOCALAPPDATA: "/local" }, "/local/sallyport"],
  ])("%j gives %s", (env, state) => {
    expect(resolvePaths(env, "/home/lee").state).toBe(state);
  });
});
