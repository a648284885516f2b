/** pods/log: what a container wrote, and what it goes on to write. */
import type { Cluster } from "#sandbox/cluster.ts";
import type { LogBuffer, LogLine } from "#sandbox/node/log-buffer.ts";
import { listAt, textAt } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { failureReply } from "#sandbox/server/reply.ts";
import type { Reply, Sink } from "#sandbox/server/reply.ts";
import { isTrue } from "#sandbox/server/request.ts";
import type { ResourceRequest } from "#sandbox/server/request.ts";
import { badRequest, failed, ok } from "#sandbox/server/status.ts";
import type { Outcome } from "#sandbox/server/status.ts";

/** Answers a request for a log. */
export function readLog(cluster: Cluster, info: ResourceRequest): Reply {
  const options = parseLogOptions(info.query, cluster.clock.now());
  if (options.type === "failure") return failureReply(options.status);
  const pod = cluster.registry.get(resourceOf("Pod"), info);
  if (pod.type === "failure") return failureReply(pod.status);
  if (textAt(pod.value, "spec", "nodeName") === "") return { type: "empty", code: 204 };
  const name = chooseContainer(pod.value, info.query.get("container") ?? "");
  if (name.type === "failure") return failureReply(name.status);
  const log = logOf(cluster, pod.value, { name: name.value, previous: options.value.previous });
  if (log.type === "failure") return failureReply(log.status);
  return { type: "stream", contentType: "text/plain", run: (sink) => writeLog(log.value, options.value, sink) };
}

/** The container that a request means: the named one, or the only one. */
export function chooseContainer(pod: KubeObject, wanted: string): Outcome<string> {
  const names = listAt(pod, "spec", "containers").map((container) => textAt(container, "name"));
  const podName = pod.metadata.name;
  if (wanted !== "") {
    return names.includes(wanted) ? ok(wanted) : failed(badRequest(`container ${wanted} is not valid for pod ${podName}`));
  }
  const [first = ""] = names;
  if (names.length === 1) return ok(first);
  return failed(badRequest(`a container name must be specified for pod ${podName}, choose one of: [${names.join(" ")}]`));
}

interface LogOptions {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly sinceMs: number;
  readonly tailLines: number | undefined;
  readonly limitBytes: number | undefined;
}

function parseLogOptions(query: URLSearchParams, nowMs: number): Outcome<LogOptions> {
  const seconds = query.get("sinceSeconds");
  const time = query.get("sinceTime");
  const sinceMs = seconds === null ? (time === null ? 0 : Date.parse(time)) : nowMs - Number(seconds) * 1000;
  const tail = query.get("tailLines");
  const limit = query.get("limitBytes");
  if (Number.isNaN(sinceMs) || (seconds !== null && time !== null))
    return failed(badRequest("at most one of `sinceTime` or `sinceSeconds` may be specified, and it must be a time"));
  if (tail !== null && !/^[0-9]+$/.test(tail)) return failed(badRequest("tailLines: Invalid value: must be greater than or equal to 0"));
  if (limit !== null && !/^[1-9][0-9]*$/.test(limit)) return failed(badRequest("limitBytes: Invalid value: must be greater than 0"));
  return ok({
    follow: isTrue(query.get("follow")),
    previous: isTrue(query.get("previous")),
    timestamps: isTrue(query.get("timestamps")),
    sinceMs,
    tailLines: tail === null ? undefined : Number(tail),
    limitBytes: limit === null ? undefined : Number(limit),
  });
}

function logOf(cluster: Cluster, pod: KubeObject, which: { readonly name: string; readonly previous: boolean }): Outcome<LogBuffer> {
  const container = cluster.kubelet.container(pod, which.name);
  // While a failed container waits for its restart, the instance that has just ended is the current one and the previous one.
  const isWaiting = container?.state.type === "waiting";
  const instance = which.previous ? (isWaiting ? container.current : container?.previous) : container?.current;
  if (instance !== undefined) return ok(instance.log);
  const { name } = pod.metadata;
  if (which.previous) return failed(badRequest(`previous terminated container "${which.name}" in pod "${name}" not found`));
  const state = container?.state;
  const why = state?.type === "waiting" ? state.reason : "ContainerCreating";
  return failed(badRequest(`container "${which.name}" in pod "${name}" is waiting to start: ${why}`));
}

async function writeLog(log: LogBuffer, options: LogOptions, sink: Sink): Promise<void> {
  const recent = log.lines.filter((line) => line.timeMs >= options.sinceMs);
  const start = options.tailLines === undefined ? recent : options.tailLines === 0 ? [] : recent.slice(-options.tailLines);
  let left = options.limitBytes ?? Infinity;
  const write = (line: LogLine): void => {
    const text = Buffer.from(
      options.timestamps ? `${new Date(line.timeMs).toISOString().replace("Z", "000000Z")} ${line.text}\n` : `${line.text}\n`,
    );
    if (left > 0) sink.write(text.subarray(0, left));
    left -= text.length;
  };
  for (const line of start) {
    if (left <= 0 || sink.signal.aborted) return;
    write(line);
    await sink.drained();
  }
  if (options.follow && !log.ended && left > 0) await follow(log, { write, isDone: () => left <= 0 }, sink);
}

function follow(log: LogBuffer, output: { write(line: LogLine): void; isDone(): boolean }, sink: Sink): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      unfollow();
      resolve();
    };
    const unfollow = log.follow((line) => {
      if (line === undefined) return finish();
      output.write(line);
      // A reader that does not read loses the stream, not the sandbox its memory.
      if (output.isDone() || sink.unreadBytes() > maxUnreadLogBytes) finish();
    });
    if (sink.signal.aborted) finish();
    sink.signal.addEventListener("abort", finish, { once: true });
  });
}

const maxUnreadLogBytes = 4 * 1024 * 1024;
