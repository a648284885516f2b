/** What an exec, attach or port-forward is about: checked before the upgrade, so that a failure is a Status that kubectl shows. */
import type { Cluster } from "#sandbox/cluster.ts";
import { maxSessions } from "#sandbox/limits.ts";
import type { Container } from "#sandbox/node/container.ts";
import type { User } from "#sandbox/identity/user.ts";
import { forbiddenStatus } from "#sandbox/identity/forbidden.ts";
import { textAt } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { attributesOf } from "#sandbox/server/request.ts";
import type { ResourceRequest } from "#sandbox/server/request.ts";
import { badRequest, failed, failure, ok } from "#sandbox/server/status.ts";
import type { Outcome } from "#sandbox/server/status.ts";
import { chooseContainer } from "./log.ts";

/** A stream's other end. */
export type StreamTarget =
  | { readonly type: "attach"; readonly container: Container }
  | { readonly type: "exec"; readonly container: Container; readonly argv: readonly string[] }
  | { readonly type: "portforward"; readonly pod: KubeObject };

/** The target of a request for a stream, or why there is none. */
export function findStreamTarget(cluster: Cluster, info: ResourceRequest, user: User): Outcome<StreamTarget> {
  // A WebSocket is opened by GET; the right to `create` is asked for as for POST (as kube-apiserver 1.35 does by default).
  const attributes = attributesOf({ ...info, verb: "create" });
  if (!cluster.authorizer.authorize(user, attributes).allowed) return failed(forbiddenStatus(user, attributes));
  const pod = cluster.registry.get(resourceOf("Pod"), info);
  if (pod.type === "failure") return pod;
  if (info.subresource !== "portforward") return findContainerTarget(cluster, info, pod.value);
  const phase = textAt(pod.value, "status", "phase");
  return phase === "Running"
    ? ok({ type: "portforward", pod: pod.value })
    : failed(badRequest(`unable to forward port because pod is not running. Current status=${phase}`));
}

function findContainerTarget(cluster: Cluster, info: ResourceRequest, pod: KubeObject): Outcome<StreamTarget> {
  const name = chooseContainer(pod, info.query.get("container") ?? "");
  if (name.type === "failure") return name;
  const container = cluster.kubelet.container(pod, name.value);
  if (container?.state.type !== "running")
    return failed(failure(500, "InternalError", `unable to upgrade connection: container not found ("${name.value}")`));
  if (container.current?.program === undefined)
    return failed(badRequest(`container ${name.value} stands for a process outside of the sandbox: nothing can be run in it`));
  if (cluster.kubelet.sessionCount() >= maxSessions)
    return failed(failure(503, "ServiceUnavailable", "the sandbox runs as many sessions as it may; close some"));
  if (info.subresource === "attach") return ok({ type: "attach", container });
  const argv = info.query.getAll("command");
  return argv.length === 0 ? failed(badRequest("you must specify at least 1 command")) : ok({ type: "exec", container, argv });
}
