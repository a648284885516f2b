import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { auditLine, auditStages, maximumAuditLineBytes, redactTarget } from "#core/access/audit-event.ts";
import type { AuditInput } from "#core/access/audit-event.ts";
import { parseRequest } from "#core/kube/request-path.ts";

const alice = { username: "alice", uid: "7", groups: ["dev"], extra: { scopes: ["a"] } };

/** An audited request; a target changes the parsed request too. */
function input(changes: Partial<AuditInput>): AuditInput {
  const method = changes.method ?? "GET";
  const target = changes.target ?? "/api/v1/namespaces/a/pods/p/log?follow=true";
  return {
    auditId: "id-1",
    stage: "ResponseComplete",
    receivedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    stageAtMs: Date.UTC(2026, 0, 2, 3, 4, 6),
    request: parseRequest(method, target),
    method,
    target,
    user: alice,
    sourceIps: ["192.0.2.1"],
    userAgent: "kubectl/v1.34",
    response: { code: 200 },
    annotations: {},
    ...changes,
  };
}

function event(changes: Partial<AuditInput>): Record<string, unknown> {
  return JSON.parse(auditLine(input(changes)));
}

/** What no line may hold: controls, DEL and C1, format characters, Unicode line ends. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

describe("an audit event", () => {
  test("is an audit.k8s.io/v1 Event", () => {
    expect(event({ annotations: { decision: "allow", "bytes-received": 12 } })).toEqual({
      kind: "Event",
      apiVersion: "audit.k8s.io/v1",
      level: "Metadata",
      auditID: "id-1",
      stage: "ResponseComplete",
      requestURI: "/api/v1/namespaces/a/pods/p/log?follow=true",
      verb: "get",
      user: { username: "alice", uid: "7", groups: ["dev"], extra: { scopes: ["a"] } },
      sourceIPs: ["192.0.2.1"],
      userAgent: "kubectl/v1.34",
      objectRef: { resource: "pods", namespace: "a", name: "p", apiVersion: "v1", subresource: "log" },
      responseStatus: { metadata: {}, code: 200 },
      requestReceivedTimestamp: "2026-01-02T03:04:05.678000Z",
      stageTimestamp: "2026-01-02T03:04:06.000000Z",
      annotations: { "sallyport.dev/decision": "allow", "sallyport.dev/bytes-received": "12" },
    });
  });

  test("names the impersonated user beside the true one", () => {
    expect(event({ impersonatedUser: { username: "bob", uid: "", groups: [], extra: {} } })).toEqual(
      expect.objectContaining({ user: expect.objectContaining({ username: "alice" }), impersonatedUser: { username: "bob", groups: [] } }),
    );
  });

  test("tells a refused request by its method and target, with no user and no object", () => {
    const refused = event({
      target: "/api/v1/namespaces/a%2fsecrets",
      method: "GET",
      user: undefined,
      response: { code: 400, reason: "BadRequest", message: "no" },
    });
    expect(refused).toEqual(
      expect.objectContaining({
        verb: "get",
        user: {},
        requestURI: "/api/v1/namespaces/a%2fsecrets",
        responseStatus: { metadata: {}, status: "Failure", code: 400, reason: "BadRequest", message: "no" },
      }),
    );
    expect(refused).not.toHaveProperty("objectRef");
  });

  test.each([
    ["/api/v1/pods", ["ResponseComplete"]],
    ["/api/v1/pods?watch=1", ["ResponseStarted", "ResponseComplete"]],
    ["/api/v1/namespaces/a/pods/p/exec", ["ResponseStarted", "ResponseComplete"]],
  ])("%s is audited at %j", (target, stages) => {
    const request = parseRequest("GET", target);
    expect(request.type === "invalid" ? [] : auditStages(request)).toEqual(stages);
  });
});

describe("secrets are not written", () => {
  const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

  test.each([
    ["/x?access_token=s3cret&a=b", "/x?access_token=REDACTED&a=b"],
    ["/x?token=s3cret", "/x?token=REDACTED"],
    ["/x?TOKEN=s3cret&Id_Token=s3cret", "/x?TOKEN=REDACTED&Id_Token=REDACTED"],
    ["/x?%74oken=s3cret", "/x?%74oken=REDACTED"],
    ["/x?a=b?token=x&token=s3cret?s3cret", "/x?a=b?token=x&token=REDACTED"],
    ["/x?password=s3cret&client_secret=s3cret&api_key=s3cret", "/x?password=REDACTED&client_secret=REDACTED&api_key=REDACTED"],
    ["/x?continue=abc&tokens=1&watch", "/x?continue=abc&tokens=1&watch"],
    [`/x/${jwt}?a=${jwt}`, "/x/REDACTED?a=REDACTED"],
    [`/x?%zz=1&a=${jwt.slice(0, 30)}`, "/x?%zz=1&a=REDACTED"],
  ])("%s is written as %s", (target, wanted) => {
    expect(redactTarget(target, 4096)).toBe(wanted);
  });

  test("a JWT stands nowhere in a line", () => {
    const user = { username: jwt, uid: jwt, groups: [jwt], extra: { [jwt]: [jwt] } };
    const line = auditLine(
      input({
        target: `/x?q=${jwt}`,
        userAgent: jwt,
        user,
        annotations: { [jwt]: jwt },
        auditId: jwt,
        sourceIps: [jwt],
        response: { code: 500, message: jwt, reason: jwt },
      }),
    );
    expect(line).not.toContain("eyJ");
  });
});

describe("whatever comes in, one bounded line of JSON comes out", () => {
  const megabyte = 1024 * 1024;
  const nasty = [
    "\n",
    "\r\n",
    "\0",
    '"',
    "\\",
    "\u001b[2J\u001b]0;x\u0007",
    "\u007f",
    "\u009b31m",
    "\u0085",
    "\u2028",
    "\u202e",
    "\u{e0041}",
    "\ud800",
    "é",
    "\u0001",
  ];

  test.each(nasty)("%j a million times in every field", (text) => {
    const long = text.repeat(Math.ceil(megabyte / text.length));
    const user = { username: long, uid: long, groups: Array.from({ length: 1000 }, () => long), extra: { [long]: [long, long] } };
    const fields = {
      target: long,
      method: long,
      userAgent: long,
      auditId: long,
      sourceIps: [long, long],
      user,
      impersonatedUser: user,
      response: { code: 500, message: long, reason: long },
    };
    const line = auditLine(
      input({ ...fields, annotations: Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`${index}${text}`, long])) }),
    );
    expect(new TextEncoder().encode(line).length).toBeLessThanOrEqual(maximumAuditLineBytes);
    expect(unsafe.test(line)).toBe(false);
    expect(JSON.parse(line)).toEqual(expect.objectContaining({ kind: "Event", auditID: expect.any(String) }));
    expect(JSON.parse(line).annotations["sallyport.dev/truncated"]).toBe("true");
  });

  test("a short text with control characters keeps its meaning", () => {
    expect(event({ userAgent: 'a\n"b"\u001b[31m\u2028\u009b' })["userAgent"]).toBe('a\n"b"\u001b[31m\u2028\u009b');
    expect(auditLine(input({ userAgent: "a\nb" }))).toContain(String.raw`"userAgent":"a\nb"`);
  });

  test("any text at all", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, text, fc.dictionary(text, text), (target, userAgent, name, annotations) => {
        const line = auditLine(input({ target, userAgent, annotations, user: { ...alice, username: name }, sourceIps: [name] }));
        expect(unsafe.test(line)).toBe(false);
        expect(JSON.parse(line)).toEqual(expect.objectContaining({ kind: "Event" }));
      }),
    );
  });
});
