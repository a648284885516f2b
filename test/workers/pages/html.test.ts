import { expect, test } from "vitest";
import { markup } from "#workers/pages/html.ts";

test.each([
  [`<img src=x onerror="alert(1)">`, "&#60;img src=x onerror=&#34;alert(1)&#34;&#62;"],
  ["' onfocus='x", "&#39; onfocus=&#39;x"],
  ["a & b", "a &#38; b"],
  ["user\u202Egpj.exe", "user\\u202egpj.exe"],
])("the text %j is written as %s", (text, written) => {
  expect(markup`<p title="${text}">${[text]}</p>`.toString()).toBe(`<p title="${written}">${written}</p>`);
});

test("HTML of another template is kept, lists are joined, and nothing is nothing", () => {
  expect(markup`<ul>${["a", "b"].map((item) => markup`<li>${item}</li>`)}</ul>${undefined}${3}`.toString()).toBe(
    "<ul><li>a</li><li>b</li></ul>3",
  );
});
