/** serviceaccounts/token: a new token for a ServiceAccount (authentication.k8s.io/v1 TokenRequest). */
import type { Cluster } from "#sandbox/cluster.ts";
import { clusterIssuer } from "#sandbox/identity/service-account-issuer.ts";
import { tokenSeconds } from "#sandbox/limits.ts";
import { numberAt, objectAt, textAt, textListAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { toTime } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { ReadTarget } from "./read.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { badRequest, conflict, failed, invalid, methodNotAllowed, notFound, ok } from "./status.ts";
import type { Outcome } from "./status.ts";
import { objectBody } from "./write.ts";

/** Answers a TokenRequest. */
export async function requestToken(cluster: Cluster, { request, info, resource }: ReadTarget): Promise<Reply> {
  if (info.verb !== "create") return failureReply(methodNotAllowed());
  const account = cluster.registry.get(resource, { namespace: info.namespace, name: info.name });
  if (account.type === "failure") return failureReply(account.status);
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  const seconds = numberAt(body.value, "spec", "expirationSeconds") ?? tokenSeconds.default;
  if (seconds < tokenSeconds.shortest || !Number.isInteger(seconds)) {
    const message = `Invalid value: ${seconds}: may not specify a duration less than 10 minutes`;
    const subject = { group: "authentication.k8s.io", plural: "tokenrequests", name: "" };
    return failureReply(invalid("TokenRequest", subject, [{ field: "spec.expirationSeconds", message, reason: "FieldValueInvalid" }]));
  }
  const bound = boundPod(cluster, account.value, objectAt(body.value, "spec", "boundObjectRef"));
  if (bound.type === "failure") return failureReply(bound.status);
  const wanted = textListAt(body.value, "spec", "audiences");
  const audiences = wanted.length === 0 ? [clusterIssuer] : wanted;
  const lifetimeSeconds = Math.min(seconds, tokenSeconds.longest);
  const order = { serviceAccount: account.value, audiences, lifetimeSeconds };
  const { token, expiresAtMs } = cluster.issuer.issue(bound.value === undefined ? order : { ...order, pod: bound.value });
  const spec = { ...objectAt(body.value, "spec"), audiences, expirationSeconds: lifetimeSeconds };
  const metadata = { name: info.name, namespace: info.namespace, creationTimestamp: toTime(cluster.clock.now()) };
  const status = { token, expirationTimestamp: toTime(expiresAtMs) };
  return json({ kind: "TokenRequest", apiVersion: "authentication.k8s.io/v1", metadata, spec, status }, 201);
}

/** The pod that the token is to be bound to; a pod that runs as another ServiceAccount is refused. */
function boundPod(cluster: Cluster, account: KubeObject, reference: JsonObject): Outcome<KubeObject | undefined> {
  if (Object.keys(reference).length === 0) return ok(undefined);
  if (textAt(reference, "kind") !== "Pod")
    return failed(
      badRequest(`cannot bind token for serviceaccount "${account.metadata.name}" to object type ${textAt(reference, "kind")}`),
    );
  const { namespace = "" } = account.metadata;
  const name = textAt(reference, "name");
  const subject = { group: "", plural: "pods", name };
  const pod = cluster.registry.store.get(resourceOf("Pod"), { namespace, name });
  if (pod === undefined) return failed(notFound(subject));
  const uid = textAt(reference, "uid");
  if (uid !== "" && uid !== pod.metadata.uid)
    return failed(
      conflict(subject, `the UID in the bound object reference (${uid}) does not match the UID in record (${pod.metadata.uid})`),
    );
  if (textAt(pod, "spec", "serviceAccountName") !== account.metadata.name) {
    return failed(
      badRequest(`cannot bind token for serviceaccount "${account.metadata.name}" to pod running with different serviceaccount name.`),
    );
  }
  return ok(pod);
}
