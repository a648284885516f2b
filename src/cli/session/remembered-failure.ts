/**
 * The negative cache: a failure is kept for half a minute, so that the dozen plugin runs of one kubectl command ask the issuer
 * once, and it is told once to each parent process, because kubectl repeats whatever every run prints.
 */
import { isJsonObject, readPrivateJson, writePrivateJson } from "./private-file.ts";

/** Failures of the plugin; each is also a code of the error table. */
export type CredentialFailureCode =
  | "NOT_SIGNED_IN"
  | "TOKEN_EXPIRED"
  | "TOKEN_INVALID"
  | "ISSUER_UNREACHABLE"
  | "LOGIN_FAILED"
  | "OVERLOADED"
  | "USAGE";

export interface CredentialFailure {
  readonly code: CredentialFailureCode;
  readonly message: string;
  /** The command that helps. */
  readonly next: string;
}

/** How long a failure stands before the issuer is asked again. */
export const failureLifetimeMs = 30_000;

/** After this a long-lived parent such as k9s is told again, and a reused process number does not silence a new parent. */
const reportLifetimeMs = 10 * 60_000;

/** Parents remembered; kubectl processes are short-lived, so older ones no longer matter. */
const maxReports = 50;

const failureCodes: ReadonlySet<string> = new Set<CredentialFailureCode>([
  "NOT_SIGNED_IN",
  "TOKEN_EXPIRED",
  "TOKEN_INVALID",
  "ISSUER_UNREACHABLE",
  "LOGIN_FAILED",
  "OVERLOADED",
  "USAGE",
]);

interface Memory {
  readonly failure: CredentialFailure | undefined;
  readonly atMs: number;
  readonly reports: readonly Report[];
}

interface Report {
  readonly parent: number;
  readonly message: string;
  readonly atMs: number;
}

/** The failure that still stands; undefined when the issuer may be asked. */
export async function recallFailure(path: string, nowMs: number): Promise<CredentialFailure | undefined> {
  const memory = await readMemory(path);
  const age = nowMs - memory.atMs;
  // A negative age means that the clock was set back: then nothing is known.
  return age >= 0 && age < failureLifetimeMs ? memory.failure : undefined;
}

export async function rememberFailure(path: string, failure: CredentialFailure, nowMs: number): Promise<void> {
  const memory = await readMemory(path);
  await writePrivateJson(path, { failure, atMs: nowMs, reports: memory.reports });
}

/** Whether this message is new to the parent process; the answer is true once. Call it under the session's lock. */
export async function claimReport(
  path: string,
  report: { readonly parent: number; readonly message: string },
  nowMs: number,
): Promise<boolean> {
  const memory = await readMemory(path);
  const recent = memory.reports.filter((item) => nowMs >= item.atMs && nowMs - item.atMs < reportLifetimeMs);
  if (recent.some((item) => item.parent === report.parent && item.message === report.message)) return false;
  const reports = [...recent, { ...report, atMs: nowMs }].slice(-maxReports);
  await writePrivateJson(path, { failure: memory.failure, atMs: memory.atMs, reports });
  return true;
}

async function readMemory(path: string): Promise<Memory> {
  const record = await readPrivateJson(path);
  const reports = Array.isArray(record?.["reports"]) ? record["reports"] : [];
  return {
    failure: parseFailure(record?.["failure"]),
    atMs: typeof record?.["atMs"] === "number" ? record["atMs"] : 0,
    reports: reports.flatMap((item: unknown) => parseReport(item) ?? []),
  };
}

function parseFailure(input: unknown): CredentialFailure | undefined {
  if (!isJsonObject(input)) return undefined;
  const { code, message, next } = input;
  if (!isFailureCode(code) || typeof message !== "string" || typeof next !== "string") return undefined;
  return { code, message, next };
}

function isFailureCode(input: unknown): input is CredentialFailureCode {
  return typeof input === "string" && failureCodes.has(input);
}

function parseReport(input: unknown): Report | undefined {
  if (!isJsonObject(input)) return undefined;
  const { parent, message, atMs } = input;
  return typeof parent === "number" && typeof message === "string" && typeof atMs === "number" ? { parent, message, atMs } : undefined;
}
