/** metav1.Status in the words of Kubernetes (apimachinery, pkg/api/errors), because clients and people recognise them. */
import type { JsonObject } from "#sandbox/objects/json.ts";
import { groupResource } from "#sandbox/objects/resources.ts";

/** A failed metav1.Status. */
export interface FailureStatus extends JsonObject {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly status: "Failure";
  readonly message: string;
  readonly reason: string;
  readonly code: number;
}

/** What a request asked for, as messages name it. */
export interface Subject {
  readonly group: string;
  readonly plural: string;
  readonly name?: string;
}

/** A result, or the Status that tells why there is none. */
export type Outcome<T> = { readonly type: "ok"; readonly value: T } | { readonly type: "failure"; readonly status: FailureStatus };

/** A good result. */
export function ok<T>(value: T): Outcome<T> {
  return { type: "ok", value };
}

/** A failed result. */
export function failed(status: FailureStatus): { readonly type: "failure"; readonly status: FailureStatus } {
  return { type: "failure", status };
}

/** A Status of any code and reason. */
export function failure(code: number, reason: string, message: string): FailureStatus {
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
}

/** 404: no such object. */
export function notFound(subject: Subject): FailureStatus {
  const message = `${groupResource(subject)} "${subject.name ?? ""}" not found`;
  return { ...failure(404, "NotFound", message), details: detailsOf(subject) };
}

/** 404: no such path. */
export const pathNotFound: FailureStatus = {
  ...failure(404, "NotFound", "the server could not find the requested resource"),
  details: {},
};

/** 409: the name is taken. */
export function alreadyExists(subject: Subject): FailureStatus {
  const message = `${groupResource(subject)} "${subject.name ?? ""}" already exists`;
  return { ...failure(409, "AlreadyExists", message), details: detailsOf(subject) };
}

/** 409: the object is not as the writer thought. */
export function conflict(subject: Subject, why: string): FailureStatus {
  const message = `Operation cannot be fulfilled on ${groupResource(subject)} "${subject.name ?? ""}": ${why}`;
  return { ...failure(409, "Conflict", message), details: detailsOf(subject) };
}

/** 403, with the reason after "is forbidden:". */
export function forbidden(subject: Subject, why: string): FailureStatus {
  const what = groupResource(subject);
  const named = subject.name === undefined || subject.name === "" ? what : `${what} "${subject.name}"`;
  const message = what === "" ? `forbidden: ${why}` : `${named} is forbidden: ${why}`;
  return { ...failure(403, "Forbidden", message), details: what === "" ? {} : detailsOf(subject) };
}

/** 400. */
export function badRequest(message: string): FailureStatus {
  return failure(400, "BadRequest", message);
}

/** 405: the verb does not exist here. */
export function methodNotAllowed(): FailureStatus {
  return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

/** One wrong field: its path and what is wrong with it. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
  /** metav1.CauseType, such as FieldValueInvalid. */
  readonly reason: string;
}

/** 422: the object's fields break its kind's rules. */
export function invalid(kind: string, subject: Subject, errors: readonly FieldError[]): FailureStatus {
  const texts = errors.map((error) => `${error.field}: ${error.message}`);
  const listed = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  const shown = subject.group === "" ? kind : `${kind}.${subject.group}`;
  const message = `${shown} "${subject.name ?? ""}" is invalid: ${listed}`;
  const causes = errors.map(({ field, message: text, reason }) => ({ reason, message: text, field }));
  return { ...failure(422, "Invalid", message), details: { name: subject.name ?? "", group: subject.group, kind, causes } };
}

/** 410: the resourceVersion is older than the history. */
export function expired(message: string): FailureStatus {
  return failure(410, "Expired", message);
}

function detailsOf(subject: Subject): JsonObject {
  const details = { ...(subject.name === undefined ? {} : { name: subject.name }), kind: subject.plural };
  return subject.group === "" ? details : { ...details, group: subject.group };
}
