/** How a failure is told: what failed, a stable code, why, what to do next, and a reference that finds the audit line. */
import { GatewayError, errorTable } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import type { CredentialFailure } from "#cli/session/remembered-failure.ts";
import { toPlainLine, toPlainText } from "./plain-text.ts";
import { paint } from "./style.ts";

export interface Failure {
  readonly code: ErrorCode;
  /** What failed, on what. */
  readonly title: string;
  /** Why; may have several lines. */
  readonly cause?: string;
  /** Commands to paste, best first; without any, the error table's hint is shown. */
  readonly next?: readonly string[];
  /** The gateway's Audit-ID of the request. */
  readonly reference?: string;
}

/** A failure on its way out of a command; main tells it and ends with its exit code. */
export class CommandError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.title, options);
    this.name = "CommandError";
    this.failure = failure;
  }
}

export function usageError(title: string, cause?: string): CommandError {
  return new CommandError({ code: "USAGE", title, ...(cause === undefined ? {} : { cause }) });
}

export function credentialError(failure: CredentialFailure): CommandError {
  return new CommandError({ code: failure.code, title: failure.message, next: [failure.next] });
}

/** Any thrown thing as a failure; a system error keeps its own words, anything else is a fault of ours. */
export function toFailure(thrown: unknown): Failure {
  if (thrown instanceof CommandError) return thrown.failure;
  if (thrown instanceof GatewayError) return { code: thrown.code, title: thrown.message };
  if (thrown instanceof Error && thrown.name === "AbortError") return { code: "CANCELLED", title: "Interrupted" };
  if (thrown instanceof Error && "syscall" in thrown)
    return { code: "INTERNAL", title: thrown.message, next: ["Check the file or address that the message names."] };
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return { code: "INTERNAL", title: "An unexpected fault", cause: detail, next: ["SALLYPORT_DEBUG=1 shows where it happened."] };
}

export function exitCodeOf(failure: Failure): number {
  return errorTable[failure.code].exit;
}

/** Where the code stands on the first line; a longer title pushes it. */
const codeColumn = 62;

/** The failure as people read it. */
export function renderFailure(failure: Failure, hasColor: boolean): string {
  const title = toPlainLine(failure.title);
  const heading = `${paint("red", "✖", hasColor)} ${paint("bold", title, hasColor)}${" ".repeat(Math.max(2, codeColumn - title.length))}${failure.code}`;
  const cause =
    failure.cause === undefined
      ? []
      : toPlainText(failure.cause)
          .split("\n")
          .map((line) => `  ${line}`);
  const next = (failure.next ?? [errorTable[failure.code].hint]).map(
    (line, index) => `  ${index === 0 ? "Try:" : "    "}  ${toPlainLine(line)}`,
  );
  const reference = failure.reference === undefined ? [] : [`  ref ${toPlainLine(failure.reference)}`];
  return [heading, ...cause, ...next, ...reference, ""].join("\n");
}

/** The failure for programs, with `-o json`. */
export function renderFailureJson(failure: Failure): string {
  const { code, title, cause, next, reference } = failure;
  return `${JSON.stringify({ error: { code, exitCode: exitCodeOf(failure), title, cause, next: next ?? [errorTable[code].hint], reference } })}\n`;
}
