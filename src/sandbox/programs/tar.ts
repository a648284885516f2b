/** The ustar format (POSIX.1-1988), as far as plain files need it. */

const blockBytes = 512;

/** A file of an archive, or why the archive cannot be read. */
export type TarEntry =
  | { readonly type: "file"; readonly name: string; readonly content: Buffer }
  | { readonly type: "invalid"; readonly why: string };

/** The two empty blocks at the end of an archive. */
export const tarEnd = Buffer.alloc(blockBytes * 2);

/** A plain file as an archive entry. Names of more than 100 bytes are split as ustar says. */
export function tarEntry(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(blockBytes);
  const cut = name.length > 100 ? name.indexOf("/", name.length - 101) : -1;
  header.write(cut < 0 ? name : name.slice(cut + 1), 0, 100);
  header.write("0000644\0", 100);
  header.write("0001750\0", 108);
  header.write("0001750\0", 116);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(
    `${Math.floor(Date.now() / 1000)
      .toString(8)
      .padStart(11, "0")}\0`,
    136,
  );
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  if (cut >= 0) header.write(name.slice(0, cut), 345, 155);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc(padding(content.length))]);
}

/** Largest file that is taken; the container's memory has a limit of its own. */
const maxFileBytes = 16 * 1024 * 1024;

/** Reads an archive that comes in pieces. */
export class TarReader {
  #buffered = Buffer.alloc(0);
  #longName = "";

  /** The files that are complete with this piece. */
  *take(chunk: Buffer): Generator<TarEntry> {
    this.#buffered = Buffer.concat([this.#buffered, chunk]);
    while (this.#buffered.length >= blockBytes) {
      const header = this.#buffered.subarray(0, blockBytes);
      const size = Number.parseInt(header.toString("latin1", 124, 136).replaceAll(/[\0 ]/g, "") || "0", 8);
      if (!Number.isInteger(size) || size < 0 || size > maxFileBytes) {
        yield { type: "invalid", why: "a file in the archive is too large for the sandbox" };
        return;
      }
      const total = blockBytes + size + padding(size);
      if (this.#buffered.length < total) return;
      const content = Buffer.from(this.#buffered.subarray(blockBytes, blockBytes + size));
      const entry = this.#entry(header, content);
      this.#buffered = this.#buffered.subarray(total);
      if (entry !== undefined) yield entry;
    }
  }

  /** A plain file; directories, links and the empty blocks at the end give nothing. */
  #entry(header: Buffer, content: Buffer): TarEntry | undefined {
    const text = (start: number, end: number): string => header.toString("utf8", start, end).replace(/\0.*$/s, "");
    const flag = text(156, 157);
    if (flag === "L") this.#longName = content.toString("utf8").replace(/\0.*$/s, "");
    if (flag !== "0" && flag !== "") return undefined;
    const prefix = text(345, 500);
    const name = this.#longName || (prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`);
    this.#longName = "";
    return name === "" ? undefined : { type: "file", name, content };
  }
}

function padding(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}
