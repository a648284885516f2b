/** The syntax of the sandbox's shell: words with quotes and variables, pipes, `;`, `&&`, `||` and simple redirects. Nothing more. */

/** A piece of a word: text, or a variable's name (`?` is the last exit code). */
export type Piece =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "variable"; readonly name: string; readonly quoted: boolean };

/** A word before variables are put in. */
export type Word = readonly Piece[];

/** Where a command's output or input goes. */
export type Redirect =
  | { readonly type: "file"; readonly operator: FileOperator; readonly target: Word }
  | { readonly type: "merge"; readonly operator: MergeOperator };

/** Operators that a file's name follows. */
export type FileOperator = "2>" | "<" | ">" | ">>";

/** Operators that send one output where the other goes. */
export type MergeOperator = "2>&1" | ">&2";

/** One command with its redirects. */
export interface Command {
  readonly words: readonly Word[];
  readonly redirects: readonly Redirect[];
}

/** Commands joined by pipes, and when they run: always, or after success or failure of what came before. */
export interface Step {
  readonly when: "always" | "onFailure" | "onSuccess";
  readonly pipeline: readonly Command[];
}

/** Parsed steps, or what is wrong. */
export type Script = { readonly type: "script"; readonly steps: readonly Step[] } | { readonly type: "invalid"; readonly why: string };

type Token = { readonly type: "operator"; readonly text: string } | { readonly type: "word"; readonly word: Word };

const mergeOperators: Readonly<Record<string, MergeOperator>> = { "2>&1": "2>&1", "1>&2": ">&2", ">&2": ">&2" };
const fileOperators: Readonly<Record<string, FileOperator>> = { "2>": "2>", ">>": ">>", ">": ">", "<": "<" };
const operators = [...Object.keys(mergeOperators), "&&", "||", ...Object.keys(fileOperators), ";", "\n", "|"];

/** Parses a script. */
export function parseScript(text: string): Script {
  const tokens = tokenize(text);
  return typeof tokens === "string" ? { type: "invalid", why: tokens } : build(tokens);
}

function tokenize(text: string): readonly Token[] | string {
  const tokens: Token[] = [];
  let rest = text;
  while (rest !== "") {
    const blank = /^([ \t\r]+|#[^\n]*|\\\n)/.exec(rest)?.[0] ?? "";
    const operator = operators.find((candidate) => rest.startsWith(candidate));
    if (blank !== "") rest = rest.slice(blank.length);
    else if (operator !== undefined) {
      tokens.push({ type: "operator", text: operator });
      rest = rest.slice(operator.length);
    } else {
      const read = readWord(rest);
      if (typeof read === "string") return read;
      tokens.push({ type: "word", word: read.word });
      rest = read.rest;
    }
  }
  return tokens;
}

function readWord(text: string): { readonly word: Word; readonly rest: string } | string {
  const word: Piece[] = [];
  let rest = text;
  while (rest !== "" && !/^[ \t\r\n;|<>&]/.test(rest)) {
    const piece = readPiece(rest);
    if (typeof piece === "string") return piece;
    word.push(...piece.pieces);
    rest = piece.rest;
  }
  return word.length === 0 ? `unexpected "${rest.slice(0, 1)}"` : { word, rest };
}

interface Read {
  readonly pieces: readonly Piece[];
  readonly rest: string;
}

function readPiece(text: string): Read | string {
  const first = text.slice(0, 1);
  if (first === "'") return readSingleQuoted(text.slice(1));
  if (first === '"') return readDoubleQuoted(text.slice(1));
  if (first === "\\") return { pieces: [{ type: "text", text: text.slice(1, 2) }], rest: text.slice(2) };
  if (first === "$") return readVariable(text, false);
  if ("`()".includes(first)) return `"${first}" is not part of this sandbox's shell`;
  const plain = /^[^ \t\r\n;|<>&'"\\$`()]+/.exec(text)?.[0] ?? "";
  return plain === "" ? `unexpected "${first}"` : { pieces: [{ type: "text", text: plain }], rest: text.slice(plain.length) };
}

function readSingleQuoted(text: string): Read | string {
  const end = text.indexOf("'");
  return end < 0 ? "a ' is not closed" : { pieces: [{ type: "text", text: text.slice(0, end) }], rest: text.slice(end + 1) };
}

function readDoubleQuoted(text: string): Read | string {
  const pieces: Piece[] = [{ type: "text", text: "" }];
  let rest = text;
  while (rest !== "" && !rest.startsWith('"')) {
    if (rest.startsWith("$")) {
      const variable = readVariable(rest, true);
      if (typeof variable === "string") return variable;
      pieces.push(...variable.pieces);
      rest = variable.rest;
    } else {
      const plain = /^(\\["\\$`]|\\|[^"\\$]+)/.exec(rest)?.[0] ?? "";
      pieces.push({ type: "text", text: plain.replace(/^\\(.)/, "$1") });
      rest = rest.slice(plain.length);
    }
  }
  return rest === "" ? 'a " is not closed' : { pieces, rest: rest.slice(1) };
}

function readVariable(text: string, quoted: boolean): Read | string {
  if (text.startsWith("$(")) return "$( ) is not part of this sandbox's shell";
  const [whole, braced, plain] = /^\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*|\?))/.exec(text) ?? [];
  if (whole === undefined) return { pieces: [{ type: "text", text: "$" }], rest: text.slice(1) };
  return { pieces: [{ type: "variable", name: braced ?? plain ?? "", quoted }], rest: text.slice(whole.length) };
}

function build(tokens: readonly Token[]): Script {
  const builder = new ScriptBuilder();
  for (const [index, token] of tokens.entries()) {
    const why = token.type === "word" ? builder.word(token.word, tokens[index - 1]) : builder.operator(token.text, tokens[index + 1]);
    if (why !== undefined) return { type: "invalid", why };
  }
  return builder.finish();
}

/** Puts tokens together; each call gives a sentence when the token cannot be there. */
class ScriptBuilder {
  readonly #steps: Step[] = [];
  #when: Step["when"] = "always";
  #pipeline: Command[] = [];
  #words: Word[] = [];
  #redirects: Redirect[] = [];

  word(word: Word, before: Token | undefined): undefined {
    const operator = before?.type === "operator" ? fileOperators[before.text] : undefined;
    if (operator === undefined) this.#words.push(word);
    else this.#redirects.push({ type: "file", operator, target: word });
  }

  operator(text: string, next: Token | undefined): string | undefined {
    if (fileOperators[text] !== undefined) return next?.type === "word" ? undefined : `a file name must follow ${text}`;
    const merge = mergeOperators[text];
    if (merge !== undefined) {
      this.#redirects.push({ type: "merge", operator: merge });
      return undefined;
    }
    const isSeparator = text === ";" || text === "\n";
    const hasCommand = this.#endCommand();
    if (!hasCommand && !(isSeparator && this.#pipeline.length === 0)) return `unexpected "${text}"`;
    if (text === "|") return undefined;
    this.#endStep();
    this.#when = text === "&&" ? "onSuccess" : text === "||" ? "onFailure" : "always";
    return undefined;
  }

  finish(): Script {
    const isOpen = this.#pipeline.length > 0 || this.#when !== "always";
    if (!this.#endCommand() && isOpen) return { type: "invalid", why: "the command ends too early" };
    this.#endStep();
    return { type: "script", steps: this.#steps };
  }

  #endCommand(): boolean {
    if (this.#words.length === 0 && this.#redirects.length === 0) return false;
    this.#pipeline.push({ words: this.#words, redirects: this.#redirects });
    this.#words = [];
    this.#redirects = [];
    return true;
  }

  #endStep(): void {
    if (this.#pipeline.length > 0) this.#steps.push({ when: this.#when, pipeline: this.#pipeline });
    this.#pipeline = [];
  }
}
