import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeHeaderText } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { impersonationChecks, maximumImpersonationChecks, parseImpersonation } from "#core/kube/impersonation-request.ts";

const nobody = { username: "", uid: "", groups: [], extra: {} };

describe("what kubectl --as asks for", () => {
  test.each<[HeaderPairs, object]>([
    [[["Impersonate-User", "bob"]], { username: "bob" }],
    [
      [
        ["impersonate-user", "bob"],
        ["IMPERSONATE-GROUP", "dev"],
        ["Impersonate-Group", "ops"],
      ],
      { username: "bob", groups: ["dev", "ops"] },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Group", "dev, ops"],
      ],
      { username: "bob", groups: ["dev", "ops"] },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Group", "a,b"],
      ],
      { username: "bob", groups: ["a,b"] },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Uid", "7"],
      ],
      { username: "bob", uid: "7" },
    ],
    [[["Impersonate-User", encodeHeaderText("боб")]], { username: "боб" }],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Extra-Scopes", "a"],
        ["impersonate-extra-scopes", "b"],
      ],
      { username: "bob", extra: { scopes: ["a", "b"] } },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Extra-Example.com%2fescaped%e1%9b%84scopes", "a"],
      ],
      { username: "bob", extra: { "example.com/escapedᛄscopes": ["a"] } },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Extra-almost%zzpercent%xxencoded", "a"],
      ],
      { username: "bob", extra: { "almost%zzpercent%xxencoded": ["a"] } },
    ],
    [
      [
        ["Impersonate-User", "bob"],
        ["Impersonate-Anything", "x"],
      ],
      { username: "bob" },
    ],
  ])("%j", (headers, wanted) => {
    expect(parseImpersonation(headers)).toEqual({ type: "requested", identity: { ...nobody, ...wanted } });
  });

  test("an extra named __proto__ is a key like any other", () => {
    const parsed = parseImpersonation([
      ["Impersonate-User", "bob"],
      ["Impersonate-Extra-__proto__", "x"],
    ]);
    expect(parsed.type === "requested" && Object.entries(parsed.identity.extra)).toEqual([["__proto__", ["x"]]]);
  });

  test.each<HeaderPairs>([[], [["Accept", "x"]], [["Impersonate-Anything", "x"]], [["X-Impersonate-User", "bob"]]])(
    "%j asks for nothing",
    (...headers) => {
      expect(parseImpersonation(headers)).toEqual({ type: "none" });
    },
  );

  test.each<[HeaderPairs]>([
    [[["Impersonate-Group", "dev"]]],
    [[["Impersonate-Uid", "7"]]],
    [[["Impersonate-Extra-a", "x"]]],
    [[["Impersonate-User", ""]]],
    [
      [
        ["Impersonate-User", ""],
        ["Impersonate-Group", "dev"],
      ],
    ],
    [[["Impersonate-User", " "]]],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-User", "b"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Uid", "1"],
        ["Impersonate-Uid", "2"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Uid", ""],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Group", ""],
      ],
    ],
    [[["Impersonate-User", "a\nb"]]],
    [[["Impersonate-User", "\xff"]]],
    [[["Impersonate-User", "боб"]]],
    [[["Impersonate-User", "a".repeat(513)]]],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Extra-", "x"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Extra-%41", "x"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Extra-a%0ab", "x"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Extra-sallyport.dev%2Foriginal-user", "x"],
      ],
    ],
    [
      [
        ["Impersonate-User", "a"],
        ["Impersonate-Group", Array.from({ length: maximumImpersonationChecks }, (_, index) => `g${index}`).join(", ")],
      ],
    ],
  ])("%j is invalid", (headers) => {
    expect(parseImpersonation(headers).type).toBe("invalid");
  });

  test("any headers are read without throwing", () => {
    const name = fc.oneof(
      fc.constantFrom("Impersonate-User", "impersonate-group", "Impersonate-Uid"),
      fc.string().map((key) => `Impersonate-Extra-${key}`),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string({ unit: "binary" }))), (headers) => {
        const parsed = parseImpersonation(headers);
        expect(parsed.type === "requested" && parsed.identity.username === "").toBe(false);
      }),
    );
  });
});

describe("the reviews that the true user must pass", () => {
  const core = { verb: "impersonate", group: "", version: "", subresource: "", namespace: "" };
  const authentication = { verb: "impersonate", group: "authentication.k8s.io", version: "v1", namespace: "" };

  test("one for the user and for each group, extra value and uid", () => {
    const asked = { username: "bob", uid: "7", groups: ["dev", "x, y"], extra: { scopes: ["a", "b"] } };
    expect(impersonationChecks(asked)).toEqual([
      { ...core, resource: "users", name: "bob" },
      { ...core, resource: "groups", name: "dev" },
      { ...core, resource: "groups", name: "x, y" },
      { ...authentication, resource: "userextras", subresource: "scopes", name: "a" },
      { ...authentication, resource: "userextras", subresource: "scopes", name: "b" },
      { ...authentication, resource: "uids", subresource: "", name: "7" },
    ]);
  });

  test.each([
    ["system:serviceaccount:foo:default", "serviceaccounts", "foo", "default"],
    ["system:serviceaccount:foo:a.b-c", "serviceaccounts", "foo", "a.b-c"],
    ["system:serviceaccount:foo", "users", "", "system:serviceaccount:foo"],
    ["system:serviceaccount:foo:a:b", "users", "", "system:serviceaccount:foo:a:b"],
    ["system:serviceaccount:Foo:a", "users", "", "system:serviceaccount:Foo:a"],
    ["system:serviceaccount:foo:-a", "users", "", "system:serviceaccount:foo:-a"],
    ["system:serviceaccount::a", "users", "", "system:serviceaccount::a"],
    ["system:node:n", "users", "", "system:node:n"],
  ])("%s is one of %s", (username, resource, namespace, name) => {
    expect(impersonationChecks({ ...nobody, username })).toEqual([{ ...core, resource, namespace, name }]);
  });
});
