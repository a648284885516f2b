/** get, list and watch. */
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { parseListOptions } from "./list-options.ts";
import type { ListOptions } from "./list-options.ts";
import { parsePresentation, presentList, presentObject } from "./presentation.ts";
import type { Presentation } from "./presentation.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { ResourceRequest } from "./request.ts";
import { expired, failure } from "./status.ts";
import type { FailureStatus } from "./status.ts";
import { runWatch } from "./watch.ts";

/** What a read is about. */
export interface ReadTarget {
  readonly request: ApiRequest;
  readonly info: ResourceRequest;
  readonly resource: Resource;
}

/** Answers get, list and watch of a stored kind. */
export function readResource(cluster: Cluster, target: ReadTarget): Reply {
  const { info, request, resource } = target;
  const presentation = parsePresentation(request.header("accept"), info.query);
  if (presentation === undefined) return failureReply(notAcceptable);
  if (info.verb === "get") return getObject(cluster, target, presentation);
  const options = parseListOptions(resource, info.query);
  if (options.type === "failure") return failureReply(options.status);
  const future = futureProblem(options.value, cluster.registry.store.revision);
  if (future !== undefined) return failureReply(future);
  return info.verb === "watch"
    ? watch(cluster, target, { options: options.value, presentation })
    : list(cluster, target, { options: options.value, presentation });
}

/** 406, as apiservers word it. */
export const notAcceptable = failure(
  406,
  "NotAcceptable",
  "only the following media types are accepted: application/json, application/json;as=Table;g=meta.k8s.io;v=v1, application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
);

interface View {
  readonly options: ListOptions;
  readonly presentation: Presentation;
}

function getObject(cluster: Cluster, { info, resource }: ReadTarget, presentation: Presentation): Reply {
  const found = cluster.registry.get(resource, {
    namespace: info.namespace === info.name && !resource.namespaced ? "" : info.namespace,
    name: info.name,
  });
  return found.type === "failure" ? failureReply(found.status) : json(presentObject(found.value, presentation, cluster.clock.now()));
}

function list(cluster: Cluster, { info, resource }: ReadTarget, { options, presentation }: View): Reply {
  const { store } = cluster.registry;
  const namespace = scopeOf(resource, info);
  const scope = JSON.stringify([
    resource.group,
    resource.plural,
    namespace ?? null,
    info.query.get("labelSelector"),
    info.query.get("fieldSelector"),
  ]);
  const first = (): ReturnType<typeof cluster.snapshots.first> => {
    const items = store.list(resource, namespace).filter((object) => options.selects(object));
    return cluster.snapshots.first({ items, revision: store.revision, scope }, options.limit);
  };
  if (options.match === "Exact" && options.revision !== store.revision) {
    return failureReply(
      expired(`The resourceVersion for the provided list is too old: the sandbox lists only its newest state, ${store.revision}`),
    );
  }
  const page = options.continueToken === "" ? first() : cluster.snapshots.next(options.continueToken, scope, options.limit);
  if (page === undefined)
    return failureReply(
      expired(
        "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
      ),
    );
  return json(presentList(resource, page, { presentation, nowMs: cluster.clock.now() }));
}

function watch(cluster: Cluster, { info, resource }: ReadTarget, { options, presentation }: View): Reply {
  const plan = { resource, namespace: scopeOf(resource, info), options, presentation };
  return {
    type: "stream",
    contentType: "application/json",
    run: (sink) => runWatch(plan, cluster.registry.store, { sink, clock: cluster.clock }),
  };
}

function scopeOf(resource: Resource, info: ResourceRequest): string | undefined {
  return resource.namespaced && info.namespace !== "" ? info.namespace : undefined;
}

/** 504 for a revision that does not exist yet: the client talked to another cluster before. */
function futureProblem(options: ListOptions, current: number): FailureStatus | undefined {
  const { revision = 0 } = options;
  if (revision <= current) return undefined;
  const message = `Too large resource version: ${revision}, current: ${current}`;
  const causes = [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }];
  return { ...failure(504, "Timeout", `Timeout: ${message}`), details: { causes, retryAfterSeconds: 1 } };
}
