/**
 * Query strings, read as Go's net/url reads them, because Kubernetes does: the first value of a key counts, `+` is a space, and a
 * pair with a bad escape or a `;` is as if it were absent.
 */

/** Most parameters of a query: Go ignores a whole query of more than 10,000, and an exec command needs at most hundreds. */
export const maximumParameters = 4096;

/** The values of a query by key; undefined stands for bytes that are not UTF-8. */
export type Query = ReadonlyMap<string, readonly (string | undefined)[]>;

/** Parses a query without its `?`. */
export function parseQuery(raw: string): Query {
  const query = new Map<string, (string | undefined)[]>();
  for (const pair of raw.split("&")) {
    if (pair === "" || pair.includes(";")) continue;
    const equals = pair.indexOf("=");
    const key = unescapeText(equals === -1 ? pair : pair.slice(0, equals));
    const value = unescapeText(equals === -1 ? "" : pair.slice(equals + 1));
    if (key.type !== "text" || value.type === "broken") continue; // no key that anybody asks for is not UTF-8
    const values = query.get(key.text) ?? [];
    values.push(value.type === "text" ? value.text : undefined);
    query.set(key.text, values);
  }
  return query;
}

/** The first value of a key, empty when the key is absent; undefined when it is not UTF-8. */
export function firstText(query: Query, key: string): string | undefined {
  const values = query.get(key);
  return values === undefined ? "" : values[0];
}

/** A boolean parameter as the API machinery converts it: present and neither `0` nor `false` in any case. */
export function isTrue(query: Query, key: string): boolean {
  const values = query.get(key);
  if (values === undefined) return false;
  return values[0] !== "0" && !/^false$/i.test(values[0] ?? "");
}

type Unescaped = { readonly type: "text"; readonly text: string } | { readonly type: "notText" } | { readonly type: "broken" };

function unescapeText(text: string): Unescaped {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return { type: "broken" };
  try {
    return { type: "text", text: decodeURIComponent(text.replaceAll("+", " ")) };
  } catch {
    return { type: "notText" }; // URIError: escapes that are not UTF-8
  }
}
