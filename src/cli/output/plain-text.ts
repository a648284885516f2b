/** Text from elsewhere, made safe for a terminal: a server must not move the cursor, recolour, retitle or reorder what is shown. */

/** C0 and C1 controls but line feed, and the characters that change the direction of text (Unicode TR36, "Trojan source"). */
// oxlint-disable-next-line no-control-regex -- the control characters are what it looks for
const unsafe = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** The text without control characters; line feeds stay, since a configuration's problems come one on a line. */
export function toPlainText(text: string): string {
  return text.replaceAll(unsafe, "");
}

/** The text on one line. */
export function toPlainLine(text: string): string {
  return toPlainText(text.replaceAll(/\s+/g, " ")).trim();
}

/** Every string inside a JSON value, made plain. */
export function toPlainValue(value: unknown): unknown {
  if (typeof value === "string") return toPlainText(value);
  if (Array.isArray(value)) return value.map(toPlainValue);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [toPlainText(name), toPlainValue(item)]));
}
