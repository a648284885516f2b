/** Values as YAML that reads back as exactly the same value. */

/** Characters that a block scalar keeps as they are: printable ones and line feeds (YAML 1.2, productions 1 and 34). */
const blockText = /^[\n\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*$/;

/** A text as a double-quoted YAML scalar: JSON's strings are YAML's (YAML 1.2, section 1.3). */
export function literal(text: string): string {
  // JSON leaves these as they are; YAML readers disagree on whether they end a line.
  return JSON.stringify(text).replaceAll(/[\u007f-\u009f\u2028\u2029\ufeff]/g, escape);
}

/**
 * A text of several lines as a mapping's value: a block scalar that people can read, indented by `indent` spaces; or a quoted one where
 * the text holds what a block cannot.
 */
export function block(text: string, indent: number): string {
  const isPlain = blockText.test(text) && text.endsWith("\n") && !text.endsWith("\n\n") && text.trim() !== "";
  if (!isPlain) return ` ${literal(text)}\n`;
  const lines = text.slice(0, -1).split("\n");
  const margin = " ".repeat(indent);
  // Two is the indentation below the parent; said outright, so that a first line that starts with spaces keeps them.
  return ` |2\n${lines.map((line) => (line === "" ? "" : margin + line)).join("\n")}\n`;
}

/** A list as block sequence items, each on its line. */
export function items(values: readonly string[], indent: number): string {
  return values.map((value) => `${" ".repeat(indent)}- ${literal(value)}\n`).join("");
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
