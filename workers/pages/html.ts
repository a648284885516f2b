/**
 * HTML that cannot be broken out of: every value put into a template is escaped, unless it is HTML that another template made. There is
 * no other way to make HTML here, no page has a script, and the Content-Security-Policy forbids any.
 */

/** HTML made by `markup`. */
export class Html {
  readonly #text: string;

  constructor(strings: TemplateStringsArray, values: readonly Value[]) {
    this.#text = strings.map((string, index) => string + (index < values.length ? render(values[index]) : "")).join("");
  }

  toString(): string {
    return this.#text;
  }
}

/** What a template may hold; a list is its elements one after the other, and undefined is nothing. */
export type Value = string | number | Html | undefined | readonly Value[];

export function markup(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(strings, values);
}

function render(value: Value): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.toString();
  if (typeof value === "object") return value.map((element) => render(element)).join("");
  return escape(String(value));
}

/** For text and for attribute values in quotes. Characters that turn the direction of text are shown as what they are. */
function escape(text: string): string {
  return text
    .replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
    .replaceAll(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => `\\u${character.charCodeAt(0).toString(16)}`);
}
