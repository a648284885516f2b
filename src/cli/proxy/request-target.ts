/**
 * A request's target as it is judged and as it is sent on.
 *
 * A filter that reads another path than the apiserver is no filter, so a target is parsed once: what `decoded` says is what the bytes of
 * `path` mean, and these bytes are what goes on. A path that a server behind could read in another way than this is refused: an encoded
 * dot segment is resolved by URL parsers (the gateway's among them) and taken literally by the apiserver.
 */

export interface RequestTarget {
  /** The Host header's value, or the authority of an absolute URL, which outranks it (RFC 9112 section 3.2.2). */
  readonly host: string;
  /** Begins with `/`; percent-encoded, in characters that every URL parser leaves alone. */
  readonly path: string;
  /** The path's meaning; bytes that are not UTF-8 are U+FFFD. */
  readonly decoded: string;
  /** Empty, or from the `?` on, byte for byte. */
  readonly query: string;
}

/** Parses a request line's target; undefined for one that is no path on this server. */
export function parseRequestTarget(text: string, host: string): RequestTarget | undefined {
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(text);
  const rest = absolute === null ? text : absolute[2] === "" ? "/" : (absolute[2] ?? "");
  const questionMark = rest.indexOf("?");
  const raw = questionMark === -1 ? rest : rest.slice(0, questionMark);
  if (!raw.startsWith("/")) return undefined;
  const path = raw.replaceAll(/[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/g, encodeByte);
  const decoded = decodePath(path);
  if (decoded === undefined) return undefined;
  return { host: absolute?.[1] ?? host, path, decoded, query: questionMark === -1 ? "" : rest.slice(questionMark) };
}

/** The path without empty, `.` and `..` segments, as Go's ServeMux redirects to (net/http `cleanPath`). */
export function cleanPath(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const cleaned = `/${kept.join("/")}`;
  return path.endsWith("/") && cleaned !== "/" ? `${cleaned}/` : cleaned;
}

/** Whether servers behind may read the path differently: encoded dot segments, and controls, where a `.*` of a filter ends. */
export function isAmbiguous(decoded: string): boolean {
  // oxlint-disable-next-line no-control-regex -- the control characters are what it looks for
  return /[\u0000-\u001f\u007f]/.test(decoded) || decoded.split("/").some((segment) => segment === "." || segment === "..");
}

/** The path's bytes as text; undefined when a `%` starts no escape. */
export function decodePath(path: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return undefined;
  const bytes = path.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  return Buffer.from(bytes, "latin1").toString("utf8");
}

/** A character of a request line is one byte. */
function encodeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
