/** The syntax of the sandbox's shell: words with quotes and variables, pipes, `;`, `&&`, `||` and simple redirects. Nothing more. */

/** A piece of a word: text, or a variable's name (`?` is the last exit code). */
export type Piece =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "variable"; readonly name: string; readonly quoted: boolean };

/** A word before variables are put in. */
export type Word = readonly Piece[];

/** Where a command's output or input goes. */
export interface Redirect {
  readonly operator: "<" | ">" | ">>";
  readonly target: Word;
}

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

const operators = ["&&", "||", ">>", ";", "\n", "|", ">", "<"];

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
  const first = text[0] ?? "";
  if (first === "'") {
    const end = text.indexOf("'", 1);
    return end < 0 ? "a ' is not closed" : { pieces: [{ type: "text", text: text.slice(1, end) }], rest: text.slice(end + 1) };
  }
  if (first === '"') return readDoubleQuoted(text.slice(1));
  if (first === "\\") return { pieces: [{ type: "text", text: text[1] ?? "" }], rest: text.slice(2) };
  if (first === "$") return readVariable(text, false);
  if (first === "`" || first === "(" || first === ")") return `"${first}" is not part of this sandbox's shell`;
  const plain = /^[^ \t\r\n;|<>&'"\\$`()]+/.exec(text)?.[0] ?? "";
  return plain === "" ? `unexpected "${first}"` : { pieces: [{ type: "text", text: plain }], rest: text.slice(plain.length) };
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
  const steps: Step[] = [];
  let when: Step["when"] = "always";
  let pipeline: Command[] = [];
  let words: Word[] = [];
  let redirects: Redirect[] = [];
  const endCommand = (): boolean => {
    if (words.length === 0 && redirects.length === 0) return false;
    pipeline.push({ words, redirects });
    words = [];
    redirects = [];
    return true;
  };
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index];
    if (token === undefined) break;
    if (token.type === "word") {
      words.push(token.word);
      continue;
    }
    if (token.text === "<" || token.text === ">" || token.text === ">>") {
      const target = tokens[(index += 1)];
      if (target?.type !== "word") return { type: "invalid", why: `a file name must follow ${token.text}` };
      redirects.push({ operator: token.text, target: target.word });
      continue;
    }
    const isSeparator = token.text === ";" || token.text === "\n";
    if (!endCommand() && !(isSeparator && pipeline.length === 0)) return { type: "invalid", why: `unexpected "${token.text}"` };
    if (token.text === "|") continue;
    if (pipeline.length > 0) steps.push({ when, pipeline });
    pipeline = [];
    when = token.text === "&&" ? "onSuccess" : token.text === "||" ? "onFailure" : "always";
  }
  const isComplete = endCommand() || (pipeline.length === 0 && when === "always");
  if (!isComplete) return { type: "invalid", why: "the command ends too early" };
  if (pipeline.length > 0) steps.push({ when, pipeline });
  return { type: "script", steps };
}
