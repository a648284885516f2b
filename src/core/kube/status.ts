/** metav1.Status: how every failure is told to a Kubernetes client (API reference, meta/v1 Status). */
import { errorTable } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";

/** The JSON of a failed metav1.Status. */
export interface FailureStatus {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Record<string, never>;
  readonly status: "Failure";
  readonly message: string;
  readonly reason: string;
  readonly details?: { readonly causes: readonly { readonly reason: string; readonly message: string }[] };
  readonly code: number;
}

/** The Status for a failure of the table: `CODE: message. Hint`. */
export function failureStatus(code: ErrorCode, message: string): FailureStatus {
  const row = errorTable[code];
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: failureSentence(code, message),
    reason: row.reason,
    details: { causes: [{ reason: code, message }] },
    code: row.status,
  };
}

/** The one sentence that both the Status and the `Warning` header carry, because kubectl hides Status texts on discovery. */
export function failureSentence(code: ErrorCode, message: string): string {
  return `${code}: ${message}. ${errorTable[code].hint}`;
}

/** A `Warning` header value (RFC 7234 section 5.5, code 299), with what a quoted string cannot hold replaced. */
export function warningHeader(sentence: string): string {
  const printable = sentence.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "'");
  return `299 - "sallyport: ${printable.slice(0, 1000)}"`;
}
