import { describe, expect, it } from "vitest";
import { createExpressionCompiler, type Expression, type ExpressionPurpose } from "#identity/expression.ts";
import type { ExpressionVariable } from "#identity/expression-check.ts";
import { configurationLimits, doorLimits } from "#identity/limits.ts";
import { type JsonObject, parseStrictJson, toJsonObject } from "#identity/strict-json.ts";
import { expressionVectors, vectorClaims } from "#test/identity/expression-vectors.ts";

const compiler = createExpressionCompiler();

function toObject(value: unknown): JsonObject {
  const limits = { maxDepth: doorLimits.maxJsonDepth, maxElements: doorLimits.maxArrayElements };
  const result = parseStrictJson(new TextEncoder().encode(JSON.stringify(value)), limits);
  const object = result.type === "parsed" ? toJsonObject(result.value) : undefined;
  if (object === undefined) throw new Error("the test's claims are no object");
  return object;
}

function compile(source: string, purpose: ExpressionPurpose = "value", variable: ExpressionVariable = "claims"): Expression {
  const result = compiler.compile(source, variable, purpose);
  if (result.type === "refused") throw new Error(result.message);
  return result.expression;
}

describe("an expression", () => {
  const claims = toObject(vectorClaims);

  it.each(expressionVectors)("%s gives what it gives in Kubernetes", (source, expected) => {
    const result = compiler.compile(source, "claims", "value");
    expect(result.type === "refused" ? { type: "refused" } : result.expression.evaluate(claims)).toEqual(expected);
  });

  it("knows which claims it mentions as members", () => {
    const expression = compile("claims.email + claims.?email_verified.orValue('') + claims['other'] + claims.a.b");
    expect([...expression.claims]).toEqual(["email", "email_verified", "a"]);
  });

  it("over a user knows the user's fields", () => {
    const rule = compile("user.username == 'a' && 'g' in user.groups && user.uid == '' && user.extra['x.y/z'][0] == 'v'", "rule", "user");
    expect(rule.evaluate(toObject({ username: "a", uid: "", groups: ["g"], extra: { "x.y/z": ["v"] } }))).toEqual({
      type: "truth",
      value: true,
    });
  });
});

describe("an expression that might mean something else here", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["claims.sub.find('a')", "the function find() is unknown or not supported"],
    ["url(claims.iss).getHost()", "the function url() is unknown or not supported"],
    ["timestamp(claims.at)", "the function timestamp() is unknown or not supported"],
    ["type(claims.sub) == string", "the function type() is unknown or not supported"],
    ["claims.groups.sort()", "the function sort() is unknown or not supported"],
    ["cel.bind(x, claims.sub, x)", "the name cel is unknown or not supported"],
    ["sets.contains(claims.groups, ['a'])", "the name sets is unknown or not supported"],
    ["claims.?sub.optMap(s, s)", "the name s is unknown or not supported"],
    ["claims.obj.transformList(i, v, v)", "the name i is unknown or not supported"],
    ["dyn(claims.groups).exists(i, v, v == 'a')", "with one variable"],
    ["claims.groups.exists(g, g == 'a')", "write dyn(claims.x).exists(…)"],
    ["claims.?groups.orValue([]).map(g, g)", "write dyn(claims.x).map(…)"],
    ["(claims.a ? claims.b : []).map(g, g)", "write dyn(claims.x).map(…)"],
    ["(claims.a ? ['a'] : ['b']).map(g, g)", "over a choice"],
    ["[].map(g, g)", "empty list"],
    ["[] + ['a']", "an empty list cannot be added"],
    ["claims.sub in []", "an empty list cannot be searched"],
    ["[][0]", "an empty list has no elements"],
    ["claims.csv.split(',')", "write split(…).map(x, x)"],
    ["claims.a ? claims.csv.split(',') : ['x']", "write split(…).map(x, x)"],
    ["dyn(claims.csv.split(','))", "write split(…).map(x, x)"],
    ["claims.csv.split(',') + ['x']", "write split(…).map(x, x)"],
    ["claims.sub.matches(claims.pattern)", "a literal pattern only"],
    ["claims.sub.matches('(?=a)')", "its pattern cannot be used"],
    ["claims.sub.matches('[')", "its pattern cannot be used"],
    ["claims", "can only be used with a member"],
    ["size(claims) > 0", "can only be used with a member"],
    ["'sub' in claims", "can only be used with a member"],
    ["claims.all(k, k != '')", "can only be used with a member"],
    ["user.username", "the name user is unknown or not supported; user is not available here"],
    ["claims.team.x__dash__y", "the escaped name x__dash__y is not supported"],
    ["claims['a__dot__b']", "the escaped name a__dot__b is not supported"],
    ["-claims.n", "the minus sign is supported before a number only"],
    ["5u", "bytes and unsigned numbers are not supported"],
    ["b'a'", "bytes and unsigned numbers are not supported"],
    ["9007199254740993", "a number is too large to be compared exactly"],
    ["claims.n / claims.m", "divides by something else than a number that is not zero"],
    ["1 / 0", "divides by something else than a number that is not zero"],
    ["1 % 0", "divides by something else than a number that is not zero"],
    ["true == 'a' in claims.obj", "a comparison to the right of == or !="],
    ["claims.a != claims.b < 3", "a comparison to the right of == or !="],
    ["int('12')", "of a literal text is not supported"],
    ["bool('yes')", "of a literal text is not supported"],
    ["{1: 'a'}[1]", "literal texts as keys only"],
    ["{'__proto__': 'a'}", "literal texts as keys only"],
    ["{'a': 1, 'a': 2}", "two entries of the same key"],
    ["dyn(claims.groups).map(claims, claims)", "may not name its variable claims"],
    ["['a'].map(x, ['b'].map(y, ['c'].map(z, z)))", "more than 2 macros inside each other"],
    ["claims.", "cannot be used"],
    ["'a' + 1", "cannot be used"],
    ["['a', 1]", "cannot be used"],
    ["claims.sub.startsWith(1)", "startsWith() needs an operand of the type string"],
    ["claims.sub.substring(size(claims.a), 'x')", "substring() needs an operand of the type int"],
    ["claims.sub.charAt(1.0)", "charAt() needs an operand of the type int"],
    ["claims.sub in claims.a + claims.b", "a sum of lists cannot be searched"],
    ["[[]]", "an empty list inside another"],
    ["{'a': []}['a']", "an empty list inside a map"],
    ["claims.sub < 'b'", "need a number on one side"],
    ["claims.a >= claims.b", "need a number on one side"],
    ["{'a': 'b'}[1]", "an index has a type"],
    ["claims.groups[null]", "an index has a type"],
    ["[1] + [2]", "lists of other things than texts"],
    ["claims.sub.lowerAscii(1)", "cannot be used"],
    ["foo", "the name foo is unknown"],
    ["", "cannot be used"],
    ["x".repeat(configurationLimits.maxExpressionLength + 1), "is longer than"],
    [Array.from({ length: 600 }, () => "'a'").join("+"), "cannot be used"],
  ];

  it.each(rows)("%s is refused, and the message says why", (source, message) => {
    const result = compiler.compile(source, "claims", "value");
    expect(result).toEqual({ type: "refused", message: expect.stringContaining(message) });
    expect(JSON.stringify(result)).not.toContain("kubernetes_");
  });

  it.each([
    ["claims.email_verified", "compare it, as in claims.x == true"],
    ["claims.?email_verified.orValue(true)", "compare it, as in claims.x == true"],
    ["claims.n > 3 ? claims.email_verified : false", "compare it, as in claims.x == true"],
    ["'true'", "compare it, as in claims.x == true"],
  ])("%s is refused as a rule", (source, message) => {
    expect(compiler.compile(source, "claims", "rule")).toEqual({ type: "refused", message: expect.stringContaining(message) });
  });

  it("is refused where a user has no such field", () => {
    expect(compiler.compile("user.name == 'x'", "user", "rule")).toMatchObject({ type: "refused" });
  });
});

describe("evaluation", () => {
  it("fails instead of running away on a long split", () => {
    const expression = compile("claims.text.split('').map(x, x)");
    expect(expression.evaluate(toObject({ text: "x".repeat(1001) }))).toEqual({ type: "failed" });
    expect(expression.evaluate(toObject({ text: "x".repeat(1000) }))).toMatchObject({ type: "texts" });
  });

  it("of a hostile text against a pattern takes linear time", () => {
    const rule = compile("claims.text.matches('^(a+)+$')", "rule");
    expect(rule.evaluate(toObject({ text: `${"a".repeat(10_000)}b` }))).toEqual({ type: "truth", value: false });
  });

  it("does not see JavaScript's own members", () => {
    for (const name of ["constructor", "toString", "hasOwnProperty", "size", "get"]) {
      expect(compile(`claims.${name}`).evaluate(toObject({}))).toEqual({ type: "failed" });
      expect(compile(`has(claims.${name}) ? 'a' : 'b'`).evaluate(toObject({}))).toEqual({ type: "text", value: "b" });
      expect(compile(`claims.${name}`).evaluate(toObject({ [name]: "x" }))).toEqual({ type: "text", value: "x" });
    }
  });
});
