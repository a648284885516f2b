/**
 * Header fields as they stand on a wire: an array of pairs, so that repeated fields stay apart and keep their order. Values are
 * byte strings: each character is one byte (isomorphic encoding), because HTTP has no other text. Names compare without case.
 */

/** One header line. */
export type HeaderPair = readonly [name: string, value: string];

/** All header lines of a message, in order. */
export type HeaderPairs = readonly HeaderPair[];

/** Fields that belong to one hop (RFC 9110 section 7.6.1, and the older names that peers still send). */
const hopByHopNames: ReadonlySet<string> = new Set([
  "connection",
  "proxy-connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/**
 * The headers without hop-by-hop fields and without those that `Connection` names. It runs before any header of ours is added:
 * otherwise `Connection: Impersonate-Group` would have the next hop, or this one, drop what the gateway wrote.
 */
export function withoutHopByHop(headers: HeaderPairs): HeaderPairs {
  const nominated = new Set(listValues(headers, "connection").map((name) => name.toLowerCase()));
  return headers.filter(([name]) => !hopByHopNames.has(name.toLowerCase()) && !nominated.has(name.toLowerCase()));
}

/** The values of all lines with this name, in order. */
export function headerValues(headers: HeaderPairs, name: string): readonly string[] {
  const wanted = name.toLowerCase();
  return headers.filter(([candidate]) => candidate.toLowerCase() === wanted).map(([, value]) => value);
}

/** The elements of a comma-separated field over all its lines, without blanks and empty elements (RFC 9110 section 5.6.1). */
export function listValues(headers: HeaderPairs, name: string): readonly string[] {
  return headerValues(headers, name)
    .flatMap((value) => value.split(","))
    .map((element) => element.replaceAll(/^[ \t]+|[ \t]+$/g, ""))
    .filter((element) => element !== "");
}

/** Whether text is a token (RFC 9110 section 5.6.2), which field names must be. */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);
}

/** Whether text can be a field's value: bytes without controls, except tabs. A line feed would start another field. */
export function isHeaderValue(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
}

/** Why a message's header lines cannot be carried; undefined when they can. The message holds no value. */
export function headerProblem(headers: HeaderPairs): string | undefined {
  const index = headers.findIndex(([name, value]) => !isToken(name) || !isHeaderValue(value));
  const [name] = headers[index] ?? [];
  if (name === undefined) return undefined;
  return isToken(name)
    ? `the header ${name.slice(0, 64)} holds a control character or one that is no byte`
    : `the name of header ${index + 1} is no HTTP token`;
}

/** Text as a field value: its UTF-8 bytes, one character each. The text must be well formed. */
export function encodeHeaderText(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** The text that a field value's bytes are in UTF-8; undefined when they are not UTF-8, or the value is no byte string. */
export function decodeHeaderText(value: string): string | undefined {
  if (!isHeaderValue(value)) return undefined;
  try {
    const bytes = Uint8Array.from(value, (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // TypeError: not UTF-8
  }
}
