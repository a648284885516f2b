/** The line discipline of a terminal: clients send raw keys, programs want edited lines, and somebody must echo. */

const backspace = new Set([0x08, 0x7f]);
const keyInterrupt = 0x03;
const keyEnd = 0x04;
const keyTab = 0x09;
const keyKillLine = 0x15;
const keyEscape = 0x1b;

/** Edits one line at a time; Ctrl-C interrupts, Ctrl-D on an empty line ends the input. */
export class Terminal {
  readonly #echo: (chunk: Buffer) => void;
  #line: number[] = [];
  #escape = false;
  #interrupt = new AbortController();
  ended = false;

  constructor(echo: (chunk: Buffer) => void) {
    this.#echo = echo;
  }

  /** Aborts when Ctrl-C is typed; a new signal is there after each. */
  get interrupted(): AbortSignal {
    return this.#interrupt.signal;
  }

  /** Takes keys; gives the lines that they finish, each with its line feed. */
  type(keys: Buffer): readonly Buffer[] {
    const lines: Buffer[] = [];
    for (const key of keys) {
      const line = this.#key(key);
      if (line !== undefined) lines.push(line);
    }
    return lines;
  }

  /** Output as a raw terminal needs it: a line feed also goes back to the first column. */
  cook(chunk: Buffer | string): Buffer {
    const bytes = Buffer.from(chunk).toString("latin1"); // byte by byte: a chunk may end inside of a character
    return Buffer.from(bytes.replaceAll("\n", "\r\n"), "latin1");
  }

  #key(key: number): Buffer | undefined {
    if (this.#escape) this.#escape = key < 0x40 || key === 0x5b; // arrow keys and the like: ESC [ … letter; they are swallowed
    else if (key === 0x0d || key === 0x0a) return this.#enter();
    else if (key >= 0x20 && !backspace.has(key)) this.#add(key);
    else this.#control(key);
    return undefined;
  }

  #control(key: number): void {
    if (key === keyEscape) this.#escape = true;
    else if (backspace.has(key)) this.#erase();
    else if (key === keyKillLine) this.#killLine();
    else if (key === keyInterrupt) this.#ctrlC();
    else if (key === keyEnd) this.ended ||= this.#line.length === 0;
    else if (key === keyTab) this.#add(key);
  }

  #enter(): Buffer {
    this.#echo(Buffer.from("\r\n"));
    const line = Buffer.from([...this.#line, 0x0a]);
    this.#line = [];
    return line;
  }

  #add(key: number): void {
    this.#line.push(key);
    this.#echo(Buffer.of(key));
  }

  #erase(): void {
    // One key may be several bytes of UTF-8: continuation bytes go with their first.
    if (this.#line.length === 0) return;
    while (((this.#line.at(-1) ?? 0) & 0xc0) === 0x80) this.#line.pop();
    this.#line.pop();
    this.#echo(Buffer.from("\b \b"));
  }

  #killLine(): void {
    while (this.#line.length > 0) this.#erase();
  }

  #ctrlC(): void {
    this.#line = [];
    this.#echo(Buffer.from("^C\r\n"));
    this.#interrupt.abort();
    this.#interrupt = new AbortController();
  }
}
