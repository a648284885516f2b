/**
 * Regular expressions as Kubernetes' CEL has them: RE2's syntax, matched in time linear in the text. JavaScript's own engine
 * differs in meaning (`(?i)`, `\z`, `$` and `.` at line ends) and can take exponential time on a hostile claim.
 */

import {
  type Assertion,
  type CharacterTest,
  isWordCharacter,
  PatternFault,
  type PatternNode,
  PatternParser,
  toCodePoint,
} from "./pattern.ts";

/** A compiled pattern: `test` says whether it matches anywhere in a text. */
export interface RegularExpression {
  readonly test: (text: string) => boolean;
}

/** A compiled pattern, or what of it is invalid or not supported. */
export type RegularExpressionResult =
  | { readonly type: "parsed"; readonly expression: RegularExpression }
  | { readonly type: "unsupported"; readonly message: string };

/** Instructions of one compiled pattern: a bound on the work for each character of a text. */
const maxInstructions = 1000;

type Instruction =
  | { readonly type: "character"; readonly test: CharacterTest }
  | { readonly type: "assert"; readonly assertion: Assertion }
  | { readonly type: "split"; first: number; second: number }
  | { readonly type: "match" };

/** Compiles a pattern: the part of RE2's syntax without Unicode classes and capture names; anything else is unsupported. */
export function parseRegularExpression(pattern: string): RegularExpressionResult {
  try {
    const program = compile(new PatternParser(pattern).parse());
    return { type: "parsed", expression: { test: (text) => run(program, Array.from(text, toCodePoint)) } };
  } catch (thrown) {
    if (thrown instanceof PatternFault) return { type: "unsupported", message: thrown.message };
    throw thrown;
  }
}

function compile(node: PatternNode): readonly Instruction[] {
  const program: Instruction[] = [];
  emit(node, program);
  program.push({ type: "match" });
  return program;
}

function emit(node: PatternNode, program: Instruction[]): void {
  if (program.length > maxInstructions) throw new PatternFault("it is too large");
  switch (node.type) {
    case "character":
    case "assert":
      program.push(node);
      return;
    case "sequence":
      for (const part of node.nodes) emit(part, program);
      return;
    case "choice":
      emitChoice(node.nodes, program);
      return;
    case "repeat":
      emitRepeat(node, program);
  }
}

function emitChoice(nodes: readonly PatternNode[], program: Instruction[]): void {
  const exits: { first: number; second: number }[] = [];
  nodes.forEach((alternative, index) => {
    const isLast = index === nodes.length - 1;
    const split = { type: "split" as const, first: program.length + 1, second: program.length + 1 };
    if (!isLast) program.push(split);
    emit(alternative, program);
    if (isLast) return;
    const exit = { type: "split" as const, first: 0, second: 0 };
    program.push(exit);
    exits.push(exit);
    split.second = program.length;
  });
  for (const exit of exits) exit.first = exit.second = program.length;
}

function emitRepeat(node: Extract<PatternNode, { type: "repeat" }>, program: Instruction[]): void {
  for (let count = 0; count < node.min; count += 1) emit(node.node, program);
  const splits: { second: number }[] = [];
  const isEndless = !Number.isFinite(node.max);
  const loopStart = program.length;
  for (let count = 0; count < (isEndless ? 1 : node.max - node.min); count += 1) {
    const split = { type: "split" as const, first: program.length + 1, second: 0 };
    splits.push(split);
    program.push(split);
    emit(node.node, program);
  }
  if (isEndless) program.push({ type: "split", first: loopStart, second: loopStart });
  for (const split of splits) split.second = program.length;
}

/** Thompson's simulation: all states that the text so far can have reached, each once for each character. */
function run(program: readonly Instruction[], codes: readonly number[]): boolean {
  let states = new Set<number>();
  for (let position = 0; position <= codes.length; position += 1) {
    if (follow(program, [...states, 0], { codes, position }, states)) return true;
    const next = new Set<number>();
    const code = codes[position];
    if (code === undefined) return false;
    for (const state of states) {
      const instruction = program[state];
      if (instruction?.type === "character" && instruction.test(code)) next.add(state + 1);
    }
    states = next;
  }
  return false;
}

/** Adds every state that can be reached without a character; true as soon as the match is among them. */
function follow(
  program: readonly Instruction[],
  pending: number[],
  place: { readonly codes: readonly number[]; readonly position: number },
  reached: Set<number>,
): boolean {
  reached.clear();
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    if (reached.has(state)) continue;
    reached.add(state);
    const instruction = program[state];
    if (instruction === undefined || instruction.type === "character") continue;
    if (instruction.type === "match") return true;
    if (instruction.type === "split") pending.push(instruction.first, instruction.second);
    else if (holds(instruction.assertion, place.codes, place.position)) pending.push(state + 1);
  }
  return false;
}

function holds(assertion: Assertion, codes: readonly number[], position: number): boolean {
  const before = codes[position - 1];
  const after = codes[position];
  const isBoundary = (before !== undefined && isWordCharacter(before)) !== (after !== undefined && isWordCharacter(after));
  switch (assertion) {
    case "text-start":
      return before === undefined;
    case "text-end":
      return after === undefined;
    case "line-start":
      return before === undefined || before === 0x0a;
    case "line-end":
      return after === undefined || after === 0x0a;
    case "word-boundary":
      return isBoundary;
    case "no-word-boundary":
      return !isBoundary;
  }
}
