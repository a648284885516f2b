/**
 * The doctor: one check for each thing that must hold between a person and a cluster, in the order in which a request meets them.
 * A check never changes anything, never prints a token, and when it fails it names the fix. A check whose ground is missing is skipped
 * and says why, so that one fault is told once.
 */
import type { ErrorCode } from "#core/errors.ts";
import { toPlainLine } from "#cli/output/plain-text.ts";
import { paint } from "#cli/output/style.ts";

export type CheckResult =
  | { readonly type: "passed"; readonly detail: string }
  /** It works, but may not for long or not everywhere. */
  | { readonly type: "warned"; readonly detail: string; readonly fix: string }
  | { readonly type: "failed"; readonly detail: string; readonly fix: string; readonly code: ErrorCode }
  | { readonly type: "skipped"; readonly detail: string };

/** A check's result under its name. */
export interface Finding {
  readonly name: string;
  readonly result: CheckResult;
}

export function passed(detail: string): CheckResult {
  return { type: "passed", detail };
}

export function warned(detail: string, fix: string): CheckResult {
  return { type: "warned", detail, fix };
}

export function failed(code: ErrorCode, detail: string, fix: string): CheckResult {
  return { type: "failed", detail, fix, code };
}

export function skipped(detail: string): CheckResult {
  return { type: "skipped", detail };
}

const marks = {
  passed: { sign: "✔", style: "green" },
  warned: { sign: "!", style: "yellow" },
  failed: { sign: "✖", style: "red" },
  skipped: { sign: "-", style: "dim" },
} as const;

/** The widest name, so that the details stand in one column. */
const nameWidth = 12;

export function renderFinding({ name, result }: Finding, hasColor: boolean): string {
  const { sign, style } = marks[result.type];
  const line = `${paint(style, sign, hasColor)} ${name.padEnd(nameWidth)}${toPlainLine(result.detail)}\n`;
  return result.type === "warned" || result.type === "failed"
    ? `${line}  ${" ".repeat(nameWidth)}Fix:  ${toPlainLine(result.fix)}\n`
    : line;
}
