import { describe, expect, it } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { CommandError, renderFailure, renderFailureJson, toFailure } from "#cli/output/failure.ts";
import { renderJson, renderListing, renderTable } from "#cli/output/format.ts";
import { toPlainLine, toPlainText } from "#cli/output/plain-text.ts";
import { wantsColor } from "#cli/output/style.ts";

describe("text from elsewhere", () => {
  it.each([
    ["\u001b[2J\u001b[31mred", "[2J[31mred"],
    ["a\u009b31mb", "a31mb"],
    ["a\rb\u0007\u0008", "ab"],
    ["user\u202egnp.exe", "usergnp.exe"],
    ["\u2066isolated\u2069", "isolated"],
    ["déjà vu 日本\n next", "déjà vu 日本\n next"],
  ])("%j is shown as %j", (text, plain) => {
    expect(toPlainText(text)).toBe(plain);
  });

  it("stays on one line where one line belongs", () => {
    expect(toPlainLine("a\r\n  b\tc\u2028d ")).toBe("a b c d");
  });
});

describe("renderFailure", () => {
  it("says what failed, the code, why, what to do, and the reference", () => {
    const failure = {
      code: "AGENT_OFFLINE",
      title: 'Can\'t reach cluster "prod"',
      cause: "The agent was last seen 3 min ago.",
      next: ["kubectl -n sallyport-system get pods", "sallyport status prod --watch"],
      reference: "8f3c21",
    } as const;
    expect(renderFailure(failure, false)).toBe(
      [
        '✖ Can\'t reach cluster "prod"                                    AGENT_OFFLINE',
        "  The agent was last seen 3 min ago.",
        "  Try:  kubectl -n sallyport-system get pods",
        "        sallyport status prod --watch",
        "  ref 8f3c21",
        "",
      ].join("\n"),
    );
  });

  it("lets no control character through from a title, cause, next step or reference", () => {
    const evil = "x\u001b[2J\u009b1m";
    const text = renderFailure({ code: "INTERNAL", title: evil, cause: evil, next: [evil], reference: evil }, false);
    // oxlint-disable-next-line no-control-regex -- the control characters are what it looks for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });

  it("shows the table's hint when nothing better is known", () => {
    expect(renderFailure({ code: "TOKEN_EXPIRED", title: "t" }, false)).toContain("Try:  Sign in again with `sallyport login`.");
  });

  it("is one line of JSON for programs", () => {
    expect(JSON.parse(renderFailureJson({ code: "POLICY_DENIED", title: "t" }))).toMatchObject({
      error: { code: "POLICY_DENIED", exitCode: 5, title: "t" },
    });
  });
});

describe("toFailure", () => {
  it.each([
    [new CommandError({ code: "NOT_FOUND", title: "t" }), { code: "NOT_FOUND", title: "t" }],
    [new GatewayError("TOO_LARGE", "m"), { code: "TOO_LARGE", title: "m" }],
    [new DOMException("aborted", "AbortError"), { code: "CANCELLED" }],
    [
      Object.assign(new Error("EACCES: permission denied, open 'x'"), { syscall: "open", code: "EACCES" }),
      { code: "INTERNAL", title: "EACCES: permission denied, open 'x'" },
    ],
    [new Error("bug"), { code: "INTERNAL", cause: "bug" }],
    ["text", { code: "INTERNAL", cause: "text" }],
  ])("%s", (thrown, failure) => {
    expect(toFailure(thrown)).toMatchObject(failure);
  });
});

describe("listings", () => {
  const listing = {
    document: { items: [{ name: "a\u009bb\u202e" }] },
    names: ["a\u001b[1m"],
    columns: ["NAME", "NODE"],
    rows: [
      ["a\u001b[1m", ""],
      ["longer", "n"],
    ],
  };

  it("align their columns, and show nothing as a dash", () => {
    expect(renderTable(listing.columns, listing.rows)).toBe("NAME    NODE\na[1m    -\nlonger  n\n");
  });

  it.each(["json", "yaml", "name", "table"] as const)("let no control character through as %s", async (format) => {
    // oxlint-disable-next-line no-control-regex -- the control characters are what it looks for
    expect(await renderListing(listing, format)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  it("keep the value as JSON, where the characters are escaped", () => {
    expect(JSON.parse(renderJson(listing.document))).toEqual(listing.document);
  });
});

describe("wantsColor", () => {
  it.each([
    [{}, true, true],
    [{}, false, false],
    [{ NO_COLOR: "1" }, true, false],
    [{ NO_COLOR: "" }, true, true],
    [{ TERM: "dumb" }, true, false],
  ])("%j on a terminal %s: %s", (env, isTerminal, wants) => {
    expect(wantsColor(env, isTerminal)).toBe(wants);
  });
});
