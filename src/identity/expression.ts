import { Environment, type ParseResult } from "@marcbachmann/cel-js";
import { functionPrefix, registerKubernetesFunctions } from "./cel-functions.ts";
import { ExpressionCheck, ExpressionFault, type ExpressionVariable, isAnyTyped, mayReturnSplit } from "./expression-check.ts";
import { configurationLimits } from "./limits.ts";
import type { RegularExpression } from "./regular-expression.ts";
import type { JsonObject } from "./strict-json.ts";

/** A compiled CEL expression of a configuration. */
export interface Expression {
  /** As written in the file. */
  readonly source: string;
  /** Names of the claims that it mentions as `claims.name` or `claims.?name`. */
  readonly claims: ReadonlySet<string>;
  /** Evaluates it over the claims, or over the user; never throws. */
  readonly evaluate: (variable: JsonObject) => ExpressionResult;
}

/** The value of an expression, as far as Kubernetes can use it. */
export type ExpressionResult =
  | { readonly type: "text"; readonly value: string }
  | { readonly type: "texts"; readonly values: readonly string[] }
  | { readonly type: "truth"; readonly value: boolean }
  | { readonly type: "null" }
  | { readonly type: "other" }
  | { readonly type: "failed" };

/** A compiled expression, or why it cannot be used; the message completes "the expression …". */
export type CompileResult =
  | { readonly type: "compiled"; readonly expression: Expression }
  | { readonly type: "refused"; readonly message: string };

/** What an expression is for: a mapping's value, or a rule that must be true or false. */
export type ExpressionPurpose = "value" | "rule";

/** Compiles the expressions of one configuration. */
export interface ExpressionCompiler {
  readonly compile: (source: string, variable: ExpressionVariable, purpose: ExpressionPurpose) => CompileResult;
}

/**
 * Creates a compiler with the variables and functions of kube-apiserver's authentication expressions. What it compiles means
 * what it means there; what it cannot be sure of it refuses.
 */
export function createExpressionCompiler(): ExpressionCompiler {
  const patterns = new Map<string, RegularExpression>();
  const splitLists = new WeakSet<object>();
  const environments = { claims: createEnvironment("claims"), user: createEnvironment("user") };
  registerKubernetesFunctions(environments.claims, { patterns, splitLists });
  registerKubernetesFunctions(environments.user, { patterns, splitLists });
  return {
    compile(source, variable, purpose) {
      if (source.length > configurationLimits.maxExpressionLength) {
        return refused(`is longer than ${configurationLimits.maxExpressionLength} characters`);
      }
      try {
        const parsed = environments[variable].parse(source);
        const check = new ExpressionCheck(variable, patterns);
        const claims = check.check(parsed.ast);
        checkType(parsed, purpose);
        check.checkOperandTypes();
        const evaluate = (value: JsonObject): ExpressionResult => evaluateParsed(parsed, { [variable]: value }, splitLists);
        return { type: "compiled", expression: { source, claims, evaluate } };
      } catch (thrown) {
        return refused(`cannot be used: ${describe(thrown)}`);
      }
    },
  };
}

function createEnvironment(variable: ExpressionVariable): Environment {
  const environment = new Environment({ enableOptionalTypes: true, homogeneousAggregateLiterals: true });
  if (variable === "claims") return environment.registerVariable("claims", "map<string, dyn>");
  return environment.registerVariable({
    name: "user",
    schema: { username: "string", uid: "string", groups: "list<string>", extra: "map<string, list<string>>" },
  });
}

function checkType(parsed: ParseResult, purpose: ExpressionPurpose): void {
  const checked = parsed.check();
  if (!checked.valid) throw checked.error ?? new ExpressionFault("its types do not fit");
  if (purpose === "rule" && (checked.type !== "bool" || isAnyTyped(parsed.ast))) {
    throw new ExpressionFault("it must give true or false for certain; compare it, as in claims.x == true");
  }
  if (purpose === "value" && mayReturnSplit(parsed.ast)) {
    throw new ExpressionFault("kube-apiserver refuses a list straight from split(); write split(…).map(x, x)");
  }
}

function evaluateParsed(parsed: ParseResult, variables: Record<string, JsonObject>, splitLists: WeakSet<object>): ExpressionResult {
  try {
    return toResult(parsed(variables), splitLists);
  } catch {
    return { type: "failed" }; // every evaluation error refuses the token; its text may hold claims
  }
}

function toResult(value: unknown, splitLists: WeakSet<object>): ExpressionResult {
  if (typeof value === "string") return { type: "text", value };
  if (typeof value === "boolean") return { type: "truth", value };
  if (value === null) return { type: "null" };
  if (!Array.isArray(value) || splitLists.has(value)) return { type: "other" };
  const values = value.filter((element) => typeof element === "string");
  return values.length === value.length ? { type: "texts", values } : { type: "other" };
}

/** The library's messages show the source with a marker on further lines, and our names for functions. */
function describe(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : "it is not valid CEL";
  return (message.split("\n")[0] ?? "").replaceAll(functionPrefix, "");
}

function refused(message: string): CompileResult {
  return { type: "refused", message };
}
