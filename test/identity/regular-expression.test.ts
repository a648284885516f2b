import { describe, expect, it } from "vitest";
import { parseRegularExpression } from "#identity/regular-expression.ts";

describe("a pattern", () => {
  // Measured with Go's regexp.
  const rows: readonly (readonly [string, string, boolean])[] = [
    ["", "", true],
    ["a", "bab", true],
    ["^a$", "a\n", false],
    ["a$", "a\nb", false],
    ["(?m)a$", "a\nb", true],
    ["(?m)^b", "a\nb", true],
    ["a.b", "a\nb", false],
    ["(?s)a.b", "a\nb", true],
    ["a.b", "a\rb", true],
    ["a.b", "a\u2028b", true],
    ["^.$", "😀", true],
    ["\\Aa\\z", "a", true],
    ["\\Aa\\z", "ba", false],
    ["(?i)k", "\u212a", true],
    ["(?i)s", "\u017f", true],
    ["(?i)i", "\u0131", false],
    ["(?i)[^k]", "\u212a", false],
    ["(?i:a)b", "AB", false],
    ["(?i:a)b", "Ab", true],
    ["(?i)a(?-i)b", "AB", false],
    ["k", "\u212a", false],
    ["^[a-c]+$", "abcabc", true],
    ["^[^a-c]$", "d", true],
    ["^[]a]$", "]", true],
    ["^[a-]$", "-", true],
    ["^[\\w.-]+@$", "a.b-c_1@", true],
    ["\\s", "\u00a0", false],
    ["\\s", "\v", false],
    ["\\d", "٣", false],
    ["\\w", "é", false],
    ["\\bé\\b", "é", false],
    ["\\ba\\b", "b a c", true],
    ["\\Ba", "ba", true],
    ["^(a|b)*c$", "ababc", true],
    ["^a{2,3}$", "aaaa", false],
    ["^a{2,3}$", "aaa", true],
    ["^a{2,}$", "aaaa", true],
    ["^a{0}$", "", true],
    ["^a*?b$", "aab", true],
    ["^(?:a|ab)c$", "abc", true],
    ["^(a*)*$", "aaa", true],
    ["|a", "b", true],
    ["\\x41\\x{1F600}", "A😀", true],
    ["\\.\\*", ".*", true],
  ];

  it.each(rows)("%j matches %j: %s", (pattern, text, expected) => {
    const result = parseRegularExpression(pattern);
    expect(result.type === "parsed" && result.expression.test(text)).toBe(expected);
  });

  it.each([
    "(",
    ")",
    "[",
    "a**",
    "*",
    "+a",
    "a{3,2}",
    "a{1001}",
    "{",
    "a{",
    "\\",
    "\\1",
    "\\pL",
    "\\Q.\\E",
    "(?=a)",
    "(?<n>a)",
    "(?P<n>a)",
    "(?x)",
    "[[:alpha:]]",
    "[b-a]",
    "[a-\\d]",
    "\\xzz",
    "(?i)é",
    "(((a{100}){100}))",
    "(".repeat(60),
  ])("%j is refused", (pattern) => {
    expect(parseRegularExpression(pattern)).toEqual({ type: "unsupported", message: expect.any(String) });
  });
});
