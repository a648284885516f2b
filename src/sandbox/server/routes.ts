/** Which handler answers which request. */
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import { findResource, reviews } from "#sandbox/objects/resources.ts";
import { readLog } from "#sandbox/streams/log.ts";
import { upgradeNeeded } from "#sandbox/streams/upgrade-needed.ts";
import { answerPath } from "./paths.ts";
import { readResource } from "./read.ts";
import type { ReadTarget } from "./read.ts";
import { failureReply } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { answerReview } from "./reviews.ts";
import { scale } from "./scale.ts";
import { methodNotAllowed, pathNotFound } from "./status.ts";
import { requestToken } from "./token-request.ts";
import { writeResource } from "./write.ts";

/** Answers an admitted request. */
export async function answer(cluster: Cluster, request: ApiRequest): Promise<Reply> {
  const { info } = request;
  if (info.type === "path") return answerPath(cluster, request, info);
  const { group, version, plural, subresource } = info;
  const review = reviews.find((entry) => entry.group === group && entry.plural === plural && version === "v1");
  if (review !== undefined) return answerReview(cluster, review, { request, info });
  const resource = findResource(group, version, plural);
  if (
    resource === undefined ||
    (resource.namespaced && info.name !== "" && info.namespace === "" && info.verb !== "list" && info.verb !== "watch")
  ) {
    return failureReply(pathNotFound);
  }
  const target: ReadTarget = { request, info, resource };
  if (subresource === "") return isRead(info.verb) ? readResource(cluster, target) : writeResource(cluster, target);
  return answerSubresource(cluster, target);
}

async function answerSubresource(cluster: Cluster, target: ReadTarget): Promise<Reply> {
  const { info, resource } = target;
  const known = resource.subresources.find((sub) => sub.name === info.subresource);
  if (known === undefined) return failureReply(pathNotFound);
  if (!known.verbs.includes(info.verb)) return failureReply(methodNotAllowed());
  switch (known.name) {
    case "status":
      return info.verb === "get" ? readResource(cluster, target) : writeResource(cluster, target, "status");
    case "scale":
      return scale(cluster, target);
    case "token":
      return requestToken(cluster, target);
    case "log":
      return readLog(cluster, info);
    default:
      return upgradeNeeded(cluster, target);
  }
}

function isRead(verb: string): boolean {
  return verb === "get" || verb === "list" || verb === "watch";
}
