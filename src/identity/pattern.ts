/**
 * The syntax of RE2 (github.com/google/re2/wiki/Syntax), as Kubernetes' CEL has it, without Unicode and POSIX classes and
 * named groups.
 */

/** Whether a character, as a code point, is one that an instruction stands for. */
export type CharacterTest = (codePoint: number) => boolean;

/** A condition on the place between two characters. */
export type Assertion = "text-start" | "text-end" | "line-start" | "line-end" | "word-boundary" | "no-word-boundary";

/** A parsed pattern. */
export type PatternNode =
  | { readonly type: "character"; readonly test: CharacterTest }
  | { readonly type: "assert"; readonly assertion: Assertion }
  | { readonly type: "sequence"; readonly nodes: readonly PatternNode[] }
  | { readonly type: "choice"; readonly nodes: readonly PatternNode[] }
  | { readonly type: "repeat"; readonly node: PatternNode; readonly min: number; readonly max: number };

/** What of a pattern is invalid or not supported. */
export class PatternFault extends Error {}

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiLine: boolean;
  readonly dotAll: boolean;
}

const perlClasses: Readonly<Record<string, CharacterTest>> = {
  d: (code) => code >= 0x30 && code <= 0x39,
  w: isWordCharacter,
  s: (code) => code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0c || code === 0x0d,
};

const escapedCharacters: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

const escapedAssertions: Readonly<Record<string, Assertion>> = {
  A: "text-start",
  z: "text-end",
  b: "word-boundary",
  B: "no-word-boundary",
};

/** A recursive-descent parser; it throws a `PatternFault`. */
export class PatternParser {
  readonly #characters: readonly string[];
  #position = 0;
  #depth = 0;
  #flags: Flags = { ignoreCase: false, multiLine: false, dotAll: false };

  constructor(pattern: string) {
    this.#characters = Array.from(pattern);
  }

  parse(): PatternNode {
    const node = this.#parseChoice();
    if (this.#position < this.#characters.length) throw new PatternFault("it has an unmatched )");
    return node;
  }

  #parseChoice(): PatternNode {
    if ((this.#depth += 1) > 50) throw new PatternFault("its groups are nested too deep");
    const nodes = [this.#parseSequence()];
    while (this.#take("|")) nodes.push(this.#parseSequence());
    this.#depth -= 1;
    return { type: "choice", nodes };
  }

  #parseSequence(): PatternNode {
    const nodes: PatternNode[] = [];
    while (this.#position < this.#characters.length && this.#peek() !== "|" && this.#peek() !== ")") {
      const atom = this.#parseAtom();
      if (atom !== undefined) nodes.push(this.#parseRepetition(atom));
    }
    return { type: "sequence", nodes };
  }

  #parseRepetition(node: PatternNode): PatternNode {
    const counts = this.#parseCounts();
    if (counts === undefined) return node;
    this.#take("?"); // a lazy repetition matches the same texts
    if (this.#parseCounts() !== undefined) throw new PatternFault("it repeats a repetition");
    return { type: "repeat", node, ...counts };
  }

  #parseCounts(): { readonly min: number; readonly max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#take("+")) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#take("?")) return { min: 0, max: 1 };
    if (this.#peek() !== "{") return undefined;
    const found = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(this.#characters.slice(this.#position, this.#position + 12).join(""));
    if (found === null) throw new PatternFault("it has a { that starts no repetition; write \\{ for the character");
    this.#position += found[0].length;
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === "" ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (max < min || min > 1000 || (max > 1000 && Number.isFinite(max)))
      throw new PatternFault("it repeats more than 1000 times, or backwards");
    return { min, max };
  }

  /** One atom; undefined for a group that only sets flags. */
  #parseAtom(): PatternNode | undefined {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#parseGroup();
      case "[":
        return this.#character(this.#parseClass());
      case ".":
        return { type: "character", test: this.#flags.dotAll ? () => true : (code) => code !== 0x0a };
      case "^":
        return { type: "assert", assertion: this.#flags.multiLine ? "line-start" : "text-start" };
      case "$":
        return { type: "assert", assertion: this.#flags.multiLine ? "line-end" : "text-end" };
      case "\\":
        return this.#parseEscape();
      case "*":
      case "+":
      case "?":
      case "{":
        throw new PatternFault(`it has a ${character} with nothing to repeat`);
      default:
        return this.#literal(toCodePoint(character));
    }
  }

  #parseGroup(): PatternNode | undefined {
    const outer = this.#flags;
    if (this.#take("?")) {
      const isOpen = this.#parseFlags();
      if (!isOpen) return undefined;
    }
    const node = this.#parseChoice();
    if (!this.#take(")")) throw new PatternFault("it has an unmatched (");
    this.#flags = outer;
    return node;
  }

  /** Reads `i-s:` or `i)`; true when a group follows. */
  #parseFlags(): boolean {
    let isSet = true;
    for (;;) {
      const character = this.#next();
      if (character === ":") return true;
      if (character === ")") return false;
      if (character === "-" && isSet) isSet = false;
      else if (character === "i") this.#flags = { ...this.#flags, ignoreCase: isSet };
      else if (character === "m") this.#flags = { ...this.#flags, multiLine: isSet };
      else if (character === "s") this.#flags = { ...this.#flags, dotAll: isSet };
      else throw new PatternFault("it has a group of a kind that is not supported; (?:…), (?i), (?m) and (?s) are");
    }
  }

  #parseEscape(): PatternNode {
    const character = this.#next();
    const assertion = Object.hasOwn(escapedAssertions, character) ? escapedAssertions[character] : undefined;
    if (assertion !== undefined) return { type: "assert", assertion };
    const perlClass = this.#perlClass(character);
    if (perlClass !== undefined) return this.#character(perlClass);
    return this.#literal(this.#escapedCode(character));
  }

  #perlClass(character: string): CharacterTest | undefined {
    const lower = character.toLowerCase();
    const test = Object.hasOwn(perlClasses, lower) ? perlClasses[lower] : undefined;
    if (test === undefined) return undefined;
    const folded = this.#fold(test);
    return character === lower ? folded : (code) => !folded(code);
  }

  #escapedCode(character: string): number {
    if (Object.hasOwn(escapedCharacters, character)) return escapedCharacters[character] ?? 0;
    if (character === "x") {
      const found = /^(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(
        this.#characters.slice(this.#position, this.#position + 8).join(""),
      );
      const code = Number.parseInt(found?.[1] ?? found?.[2] ?? "ffffff", 16);
      if (found === null || code > 0x10ffff) throw new PatternFault("it has an invalid \\x escape");
      this.#position += found[0].length;
      return code;
    }
    const code = toCodePoint(character);
    if (code < 0x80 && !isWordCharacter(code)) return code;
    throw new PatternFault(`it has the escape \\${character}, which is invalid or not supported`);
  }

  #parseClass(): CharacterTest {
    const isNegated = this.#take("^");
    const tests: CharacterTest[] = [];
    do {
      tests.push(this.#parseClassItem());
    } while (!this.#take("]"));
    const test = this.#fold((code) => tests.some((item) => item(code)));
    return isNegated ? (code) => !test(code) : test;
  }

  #parseClassItem(): CharacterTest {
    const first = this.#next();
    if (first === "[" && this.#peek() === ":") throw new PatternFault("it has a class such as [:alpha:], which is not supported");
    const perlClass = first === "\\" ? this.#perlClass(this.#peek()) : undefined;
    if (perlClass !== undefined) {
      this.#position += 1;
      return perlClass;
    }
    const low = this.#classCode(first);
    if (this.#peek() === "-" && this.#characters[this.#position + 1] !== "]") return this.#parseRange(low);
    if (first === "-" && this.#peek() !== "]") throw new PatternFault("it has a - inside a class; write \\- for the character");
    return this.#checkCase([low], (code) => code === low);
  }

  #parseRange(low: number): CharacterTest {
    this.#position += 1;
    const last = this.#next();
    const high = this.#classCode(last);
    if (high < low || last === "[") throw new PatternFault("it has an invalid range in a class");
    return this.#checkCase([low, high], (code) => code >= low && code <= high);
  }

  #classCode(character: string): number {
    return character === "\\" ? this.#escapedCode(this.#next()) : toCodePoint(character);
  }

  #literal(code: number): PatternNode {
    return this.#character(this.#fold(this.#checkCase([code], (candidate) => candidate === code)));
  }

  #character(test: CharacterTest): PatternNode {
    return { type: "character", test };
  }

  /** Case folding beyond ASCII differs between Unicode versions, so such a pattern may not ask for it. */
  #checkCase(codes: readonly number[], test: CharacterTest): CharacterTest {
    if (this.#flags.ignoreCase && codes.some((code) => code >= 0x80)) {
      throw new PatternFault("it ignores the case of characters beyond ASCII, which is not supported");
    }
    return test;
  }

  #fold(test: CharacterTest): CharacterTest {
    return this.#flags.ignoreCase ? (code) => foldCases(code).some(test) : test;
  }

  #peek(): string {
    return this.#characters[this.#position] ?? "";
  }

  #next(): string {
    const character = this.#characters[this.#position];
    if (character === undefined) throw new PatternFault("it ends too early");
    this.#position += 1;
    return character;
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#position += 1;
    return true;
  }
}

/** All spellings of an ASCII letter under simple case folding: U+017F is an s, and U+212A a k. */
function foldCases(code: number): readonly number[] {
  const letter = code === 0x17f ? 0x73 : code === 0x212a ? 0x6b : code | 0x20;
  if (letter < 0x61 || letter > 0x7a || (code > 0x7a && code !== 0x17f && code !== 0x212a)) return [code];
  return [letter, letter - 0x20, code];
}

/** Whether a code point is of RE2's class \w, which knows ASCII only. */
export function isWordCharacter(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f;
}

/** The code point of a character. */
export function toCodePoint(character: string): number {
  return character.codePointAt(0) ?? 0;
}
