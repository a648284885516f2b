import type { ASTNode } from "@marcbachmann/cel-js";
import { functionPrefix, globalFunctions, methodFunctions } from "./cel-functions.ts";
import { configurationLimits } from "./limits.ts";
import { parseRegularExpression, type RegularExpression } from "./regular-expression.ts";

/** The variable that an expression may use. */
export type ExpressionVariable = "claims" | "user";

/**
 * Walks a parsed expression before it is type-checked. It admits only what the library and kube-apiserver understand alike,
 * refuses with a sentence whatever else there is, and renames every function call to ours. Checking a list of what is
 * known, instead of what is not, is what makes a silent difference of meaning impossible.
 */
export class ExpressionCheck {
  readonly #variable: ExpressionVariable;
  readonly #patterns: Map<string, RegularExpression>;
  readonly #claims = new Set<string>();
  readonly #typeChecks: (() => void)[] = [];
  #nodes = 0;

  constructor(variable: ExpressionVariable, patterns: Map<string, RegularExpression>) {
    this.#variable = variable;
    this.#patterns = patterns;
  }

  /** The names of the claims that are mentioned as members; throws an `ExpressionFault` for the first construct that is not admitted. */
  check(root: ASTNode): ReadonlySet<string> {
    this.#visit(root, { names: [], loops: 0, depth: 0 });
    return this.#claims;
  }

  /**
   * Checks, once types are known, the operands that the library leaves to evaluation where kube-apiserver refuses the
   * expression. Throws an `ExpressionFault`.
   */
  checkOperandTypes(): void {
    for (const check of this.#typeChecks) check();
  }

  #visit(node: ASTNode, scope: Scope): void {
    this.#nodes += 1;
    if (this.#nodes > configurationLimits.maxExpressionNodes) throw new ExpressionFault("it is too large");
    if (scope.depth > configurationLimits.maxExpressionDepth) throw new ExpressionFault("it is nested too deep");
    const inner = { ...scope, depth: scope.depth + 1 };
    if (node.op === "value") checkLiteral(node.args);
    else if (node.op === "id") this.#checkName(node.args, scope);
    else if (node.op === "." || node.op === ".?") this.#visitMember(node.args, inner);
    else if (node.op === "[]" || node.op === "[?]") this.#visitIndex(node.args, inner);
    else if (node.op === "call") this.#visitCall(node.args, inner);
    else if (node.op === "rcall") this.#visitMethod(node.args, inner);
    else if (node.op === "map") this.#visitMap(node.args, inner);
    else this.#visitOperator(node, inner);
  }

  #visitMember([base, name]: readonly [ASTNode, string], scope: Scope): void {
    checkField(name);
    if (isClaims(base)) this.#claims.add(name);
    this.#visitBase(base, scope);
  }

  #visitIndex([base, index]: readonly [ASTNode, ASTNode], scope: Scope): void {
    if (index.op === "value" && typeof index.args === "string") checkField(index.args);
    this.#typeChecks.push(() => checkIndex(base, index));
    this.#visit(index, scope);
    this.#visitBase(base, scope);
  }

  #visitOperator(node: OperatorNode, scope: Scope): void {
    if (node.op === "!_") return this.#visit(node.args, scope);
    if (node.op === "-_") return checkMinus(node.args);
    checkOperands(node);
    if (node.op === "+") this.#typeChecks.push(() => checkAddedLists(node.args));
    if (["<", "<=", ">", ">="].includes(node.op)) this.#typeChecks.push(() => checkOrder(node.args));
    for (const operand of node.args) this.#visit(operand, scope);
  }

  /** The operand of a member access: here alone the variable itself may stand. */
  #visitBase(base: ASTNode, scope: Scope): void {
    if (base.op === "id" && base.args === this.#variable) return;
    if (isEmptyList(base)) throw new ExpressionFault("an empty list has no elements to choose from");
    this.#visit(base, scope);
  }

  #checkName(name: string, scope: Scope): void {
    if (scope.names.includes(name)) return;
    if (name === this.#variable) throw new ExpressionFault(`${name} can only be used with a member, as in ${name}.x`);
    const other = this.#variable === "claims" ? "user" : "claims";
    const hint = name === other ? `; ${other} is not available here` : "";
    throw new ExpressionFault(`the name ${name} is unknown or not supported${hint}`);
  }

  #visitCall(call: [string, ASTNode[]], scope: Scope): void {
    const [name, operands] = call;
    if (name !== "has") {
      if (!globalFunctions.has(name)) throw unsupportedFunction(name);
      const [operand] = operands;
      if (["bool", "double", "int"].includes(name) && operand?.op === "value" && typeof operand.args === "string") {
        throw new ExpressionFault(`${name}() of a literal text is not supported; write the value itself`);
      }
      call[0] = functionPrefix + name;
    }
    for (const operand of operands) this.#visit(operand, scope);
  }

  #visitMethod(call: [string, ASTNode, ASTNode[]], scope: Scope): void {
    const [name, receiver, operands] = call;
    if (loopMacros.has(name)) return this.#visitLoop(call, scope);
    if (receiver.op === "id" && receiver.args === "optional" && (name === "of" || name === "none")) {
      return operands.forEach((operand) => this.#visit(operand, scope));
    }
    this.#visit(receiver, scope);
    for (const operand of operands) this.#visit(operand, scope);
    if (optionalMethods.has(name)) return;
    const types = methodFunctions.get(name);
    if (types === undefined) throw unsupportedFunction(name);
    operands.forEach((operand, index) => this.#typeChecks.push(() => checkMethodOperand(name, operand, types[index])));
    if (name === "matches") this.#compilePattern(operands[0]);
    call[0] = functionPrefix + name;
  }

  #visitLoop([name, range, operands]: [string, ASTNode, ASTNode[]], scope: Scope): void {
    const [variable, ...bodies] = operands;
    const expected = name === "map" ? [1, 2] : [1];
    if (variable?.op !== "id" || !expected.includes(bodies.length)) {
      throw new ExpressionFault(`the macro ${name}() is supported with one variable and its expression only`);
    }
    if (variable.args === "claims" || variable.args === "user" || variable.args === "optional") {
      throw new ExpressionFault(`the macro ${name}() may not name its variable ${variable.args}`);
    }
    checkRange(name, range);
    if (scope.loops === maxLoops) throw new ExpressionFault(`more than ${maxLoops} macros inside each other are not supported`);
    this.#visit(range, scope);
    const names = [...scope.names, variable.args];
    for (const body of bodies) this.#visit(body, { ...scope, names, loops: scope.loops + 1 });
  }

  #visitMap(entries: readonly (readonly [ASTNode, ASTNode])[], scope: Scope): void {
    const keys = entries.map(([key]) => (key.op === "value" && typeof key.args === "string" ? key.args : undefined));
    if (keys.some((key) => key === undefined || key === "__proto__" || key === "constructor" || key === "prototype")) {
      throw new ExpressionFault("a map may have literal texts as keys only");
    }
    if (new Set(keys).size !== keys.length) throw new ExpressionFault("a map has two entries of the same key");
    if (entries.some(([, value]) => isEmptyList(value))) throw new ExpressionFault("an empty list inside a map is not supported");
    for (const [, value] of entries) this.#visit(value, scope);
  }

  #compilePattern(operand: ASTNode | undefined): void {
    if (operand?.op !== "value" || typeof operand.args !== "string") {
      throw new ExpressionFault("matches() is supported with a literal pattern only");
    }
    const result = parseRegularExpression(operand.args);
    if (result.type === "unsupported") throw new ExpressionFault(`its pattern cannot be used: ${result.message}`);
    this.#patterns.set(operand.args, result.expression);
  }
}

/** What of an expression is not admitted. */
export class ExpressionFault extends Error {}

/** Whether an expression's result can come straight from split(), which kube-apiserver refuses for every token. */
export function mayReturnSplit(node: ASTNode): boolean {
  if (node.op === "?:") return mayReturnSplit(node.args[1]) || mayReturnSplit(node.args[2]);
  if (node.op === "call" && node.args[0] === `${functionPrefix}dyn`) return node.args[1].some(mayReturnSplit);
  return isSplit(node);
}

/**
 * Whether kube-apiserver's type checker sees the type `any`: a claim itself, and what is chosen among claims. It cannot be
 * looped over nor stand for a bool; a member of such a claim can.
 */
export function isAnyTyped(node: ASTNode): boolean {
  if (isMember(node)) return isClaims(node.args[0]) || hasAnyElements(node.args[0]);
  if (node.op === "?:") return isAnyTyped(node.args[1]) || isAnyTyped(node.args[2]);
  if (node.op === "list") return node.args.some(isAnyTyped);
  if (node.op === "map") return node.args.some(([, value]) => isAnyTyped(value));
  if (node.op !== "rcall") return false;
  const [name, receiver, operands] = node.args;
  if (name !== "of" && !optionalMethods.has(name)) return false;
  return isAnyTyped(receiver) || operands.some(isAnyTyped);
}

/** Whether a list's elements are claims as they are. */
function hasAnyElements(node: ASTNode): boolean {
  if (node.op === "list") return node.args.some(isAnyTyped);
  if (node.op !== "rcall") return false;
  const [name, receiver, operands] = node.args;
  if (name === "filter") return hasAnyElements(receiver);
  return name === "map" && operands.slice(-1).some(isAnyTyped);
}

type MemberNode = Extract<ASTNode, { readonly op: "." | ".?" | "[]" | "[?]" }>;

function isMember(node: ASTNode): node is MemberNode {
  return [".", ".?", "[]", "[?]"].includes(node.op);
}

type OperatorNode = Exclude<ASTNode, { readonly op: "value" | "id" | "." | ".?" | "[]" | "[?]" | "call" | "rcall" | "map" }>;

interface Scope {
  /** Variables of the macros around. */
  readonly names: readonly string[];
  readonly loops: number;
  readonly depth: number;
}

/** Macros inside each other: with claims' arrays bounded, a bound on the work for one token. */
const maxLoops = 2;

const loopMacros: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "filter", "map"]);
const optionalMethods: ReadonlySet<string> = new Set(["hasValue", "or", "orValue", "value"]);

/** Escapes that kube-apiserver resolves in names of nested claims (k8s.io/apiserver/pkg/cel, Escape). */
const escapedName = /__[^_]+__/;

function checkField(name: string): void {
  if (escapedName.test(name)) throw new ExpressionFault(`the escaped name ${name} is not supported; write ["the-name"]`);
}

function checkLiteral(value: unknown): void {
  if (typeof value === "object" && value !== null) throw new ExpressionFault("bytes and unsigned numbers are not supported");
  if (typeof value === "bigint" && (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))) {
    throw new ExpressionFault("a number is too large to be compared exactly");
  }
}

function checkRange(macro: string, range: ASTNode): void {
  if (isAnyTyped(range)) {
    throw new ExpressionFault(
      `kube-apiserver does not run ${macro}() over a claim of unknown type; write dyn(claims.x).${macro}(…) in place of claims.x.${macro}(…)`,
    );
  }
  if (range.op === "?:" || isEmptyList(range)) {
    throw new ExpressionFault(`${macro}() over a choice or an empty list is typed otherwise by kube-apiserver; write dyn(…).${macro}(…)`);
  }
}

/** The type that the library's checker has written to a node; it is not part of the node's declared type. */
function readCheckedType(node: ASTNode): string | undefined {
  const checked: unknown = "checkedType" in node ? node.checkedType : undefined;
  if (typeof checked !== "object" || checked === null || !("name" in checked)) return undefined;
  return typeof checked.name === "string" ? checked.name : undefined;
}

function checkMethodOperand(method: string, operand: ASTNode, type: string | undefined): void {
  const found = readCheckedType(operand);
  if (found !== type && found !== "dyn") throw new ExpressionFault(`${method}() needs an operand of the type ${type ?? "none"}`);
}

function checkIndex(base: ASTNode, index: ASTNode): void {
  const accepted = readCheckedType(base)?.startsWith("map<") === true ? ["string", "dyn"] : ["int", "double", "string", "dyn"];
  if (!accepted.includes(readCheckedType(index) ?? "")) throw new ExpressionFault("an index has a type that fits neither a list nor a map");
}

function checkAddedLists(operands: readonly ASTNode[]): void {
  const types = operands.map((operand) => readCheckedType(operand) ?? "");
  if (types.some((type) => type.startsWith("list<") && type !== "list<string>" && type !== "list<dyn>")) {
    throw new ExpressionFault("lists of other things than texts cannot be added");
  }
}

/** Texts are ordered by UTF-16 units here, by UTF-8 bytes in Go. */
function checkOrder(operands: readonly ASTNode[]): void {
  if (operands.some((operand) => ["int", "double"].includes(readCheckedType(operand) ?? ""))) return;
  throw new ExpressionFault("<, <=, > and >= need a number on one side at least, such as a literal or int(…)");
}

function checkMinus(operand: ASTNode): void {
  if (operand.op === "value" && isNumber(operand.args)) return checkLiteral(operand.args);
  throw new ExpressionFault("the minus sign is supported before a number only; write 0.0 - x");
}

function checkOperands(node: Exclude<OperatorNode, { readonly op: "!_" | "-_" }>): void {
  if (node.op === "/" || node.op === "%") checkDivisor(node.args[1]);
  if (node.op === "==" || node.op === "!=") checkEqualityOperand(node.args[1]);
  if (node.op === "+") checkAddends(node.args);
  if (node.op === "in") checkSearched(node.args[1]);
  if (node.op === "list" && node.args.some(isEmptyList)) throw new ExpressionFault("an empty list inside another is not supported");
}

/** 0/0 is NaN, which cel-go refuses to order and JavaScript does not. */
function checkDivisor(divisor: ASTNode): void {
  if (divisor.op === "value" && isNumber(divisor.args) && Number(divisor.args) !== 0) return;
  throw new ExpressionFault("it divides by something else than a number that is not zero");
}

/**
 * CEL gives == and < the same precedence (cel-spec, langdef, "Syntax"), the library a lower one to ==: `a == b < c` is
 * `(a == b) < c` to one and `a == (b < c)` to the other. With the comparison on the left both agree.
 */
function checkEqualityOperand(right: ASTNode): void {
  if (!["<", "<=", ">", ">=", "in"].includes(right.op)) return;
  throw new ExpressionFault("a comparison to the right of == or != is not supported; put it on the left, as in (a in b) == c");
}

function checkAddends(operands: readonly ASTNode[]): void {
  if (operands.some(isSplit)) throw new ExpressionFault("a list straight from split() cannot be added to; write split(…).map(x, x)");
  if (operands.some(isEmptyList)) throw new ExpressionFault("an empty list cannot be added");
}

/** kube-apiserver infers the element type of a sum of lists, the library does not. */
function checkSearched(range: ASTNode): void {
  if (isEmptyList(range)) throw new ExpressionFault("an empty list cannot be searched");
  if (range.op === "+") throw new ExpressionFault("a sum of lists cannot be searched; search each, as in x in a || x in b");
}

function isEmptyList(node: ASTNode): boolean {
  return node.op === "list" && node.args.length === 0;
}

function isNumber(value: unknown): boolean {
  return typeof value === "bigint" || typeof value === "number";
}

function isClaims(node: ASTNode): boolean {
  return node.op === "id" && node.args === "claims";
}

function isSplit(node: ASTNode): boolean {
  return node.op === "rcall" && (node.args[0] === "split" || node.args[0] === `${functionPrefix}split`);
}

function unsupportedFunction(name: string): ExpressionFault {
  const known = ["has", ...globalFunctions, ...loopMacros, ...optionalMethods, ...methodFunctions.keys()];
  return new ExpressionFault(
    `the function ${name}() is unknown or not supported here; supported are ${[...new Set(known)].toSorted().join(", ")}`,
  );
}
