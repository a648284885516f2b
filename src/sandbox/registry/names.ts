/** Rules for names and label values (apimachinery, util/validation). */
import { randomInt } from "node:crypto";

const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const labelPattern = new RegExp(`^${label}$`);
const subdomainPattern = new RegExp(`^${label}(\\.${label})*$`);
const qualifiedPattern = new RegExp(`^(${label}(\\.${label})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`);
const valuePattern = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

/** Kinds whose names are DNS labels, and kinds whose names only must be a path segment. */
const labelKinds = new Set(["Namespace", "Service"]);
const segmentKinds = new Set(["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);

/** What is wrong with an object's name; undefined when it is good. */
export function nameProblem(kind: string, name: string): string | undefined {
  if (segmentKinds.has(kind))
    return /[/%]/.test(name) || name === "." || name === ".." ? "a name may not contain '/' or '%', nor be '.' or '..'" : undefined;
  if (labelKinds.has(kind)) {
    return labelPattern.test(name) && name.length <= 63
      ? undefined
      : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
  }
  return subdomainPattern.test(name) && name.length <= 253
    ? undefined
    : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
}

/** Whether a label's or annotation's key is well formed. */
export function isQualifiedName(name: string): boolean {
  return qualifiedPattern.test(name) && (name.split("/").at(-1)?.length ?? 0) <= 63;
}

/** Whether a label's value is well formed. */
export function isLabelValue(value: string): boolean {
  return valuePattern.test(value) && value.length <= 63;
}

/** The characters of generated names: no vowels and nothing that is easily misread (apimachinery, util/rand). */
const alphabet = "bcdfghjklmnpqrstvwxz2456789";

/** Five random characters for `generateName`. */
export function randomSuffix(): string {
  return Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join("");
}
