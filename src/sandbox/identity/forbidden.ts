/** The 403 of a request that the authorizer denies, in kube-apiserver's words (handlers/responsewriters/errors.go). */
import { forbidden } from "#sandbox/server/status.ts";
import type { FailureStatus } from "#sandbox/server/status.ts";
import type { Attributes } from "./authorizer.ts";
import type { User } from "./user.ts";

/** `pods "cart" is forbidden: User "lee" cannot get resource "pods" in API group "" in the namespace "web"`. */
export function forbiddenStatus(user: User, attributes: Attributes): FailureStatus {
  const who = `User ${quote(user.name)} cannot ${attributes.verb}`;
  if (attributes.type === "path") return forbidden({ group: "", plural: "" }, `${who} path ${quote(attributes.path)}`);
  const { group, plural, subresource, namespace, name } = attributes;
  const resource = subresource === "" ? plural : `${plural}/${subresource}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace ${quote(namespace)}`;
  return forbidden({ group, plural, name }, `${who} resource ${quote(resource)} in API group ${quote(group)} ${where}`);
}

function quote(text: string): string {
  return JSON.stringify(text);
}
