const blockPattern = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g;

/**
 * Whether a text holds at least one PEM certificate (RFC 7468) and every one is an X.509 certificate in outline (RFC 5280
 * section 4.1): whoever dials parses it in full, and fails then if more is wrong with it.
 */
export function isCertificateBundle(text: string): boolean {
  const blocks = [...text.matchAll(blockPattern)];
  const markers = text.split("-----BEGIN CERTIFICATE-----").length - 1;
  return blocks.length > 0 && blocks.length === markers && blocks.every(([, body]) => isCertificate((body ?? "").replaceAll(/\s/g, "")));
}

function isCertificate(base64: string): boolean {
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return false;
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const outer = readElement(bytes, 0);
  if (outer?.tag !== sequenceTag || outer.end !== bytes.length) return false;
  const tags: number[] = [];
  let offset = outer.start;
  while (offset < outer.end) {
    const element = readElement(bytes, offset);
    if (element === undefined || element.end > outer.end) return false;
    tags.push(element.tag);
    offset = element.end;
  }
  return tags.length === 3 && tags[0] === sequenceTag && tags[1] === sequenceTag && tags[2] === bitStringTag;
}

const sequenceTag = 0x30;
const bitStringTag = 0x03;

/** One DER element (X.690 section 8.1): its tag, and where its content starts and ends. */
function readElement(
  bytes: Uint8Array,
  offset: number,
): { readonly tag: number; readonly start: number; readonly end: number } | undefined {
  const [tag, first] = [bytes[offset], bytes[offset + 1]];
  if (tag === undefined || first === undefined) return undefined;
  if (first < 0x80) return { tag, start: offset + 2, end: offset + 2 + first };
  const count = first & 0x7f;
  if (count === 0 || count > 3) return undefined;
  let length = 0;
  for (let index = 0; index < count; index += 1) length = length * 256 + (bytes[offset + 2 + index] ?? 0);
  return { tag, start: offset + 2 + count, end: offset + 2 + count + length };
}
