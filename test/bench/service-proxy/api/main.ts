/**
 * As much of an API server as kube-proxy asks for: lists and watches of generated objects, from memory, so that thirty thousand Services
 * are there at once. Each number on its standard input changes one endpoint of that Service.
 */
import { createServer, type ServerResponse } from "node:http";
import { createInterface } from "node:readline";

import { benchNode, serviceJson, sliceJson } from "#test/bench/service-proxy/objects.ts";

const [services = "0", port = "8001", endpoints = "2"] = process.argv.slice(2);
const count = Number(services);
const endpointCount = Number(endpoints);
const versions = new Map<number, number>();
const sliceWatchers = new Set<ServerResponse>();
let resourceVersion = 1;

const node = {
  apiVersion: "v1",
  kind: "Node",
  metadata: { name: benchNode, resourceVersion: "1" },
  status: { addresses: [{ type: "InternalIP", address: "192.168.0.1" }] },
};
const indexes = Array.from({ length: count }, (_, index) => index);

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://api");
  const isWatch = url.searchParams.get("watch") === "true" || url.searchParams.get("watch") === "1";
  response.setHeader("content-type", "application/json");
  // Streaming the first list is an option; without it, clients list (KEP-3157).
  if (url.searchParams.has("sendInitialEvents"))
    return end(response, 400, { kind: "Status", apiVersion: "v1", status: "Failure", code: 400 });
  if (isWatch) return watch(response, url.pathname);
  if (url.pathname.endsWith("/services"))
    return end(
      response,
      200,
      list(
        "ServiceList",
        "v1",
        indexes.map((index) => serviceJson(index, 1)),
      ),
    );
  if (url.pathname.endsWith("/endpointslices")) {
    const slices = indexes.map((index) => sliceJson(index, versions.get(index) ?? 0, 1, endpointCount));
    return end(response, 200, list("EndpointSliceList", "discovery.k8s.io/v1", slices));
  }
  if (url.pathname.endsWith("/nodes")) return end(response, 200, list("NodeList", "v1", [node]));
  if (url.pathname.includes("/nodes/")) return end(response, 200, node);
  if (url.pathname.endsWith("/servicecidrs")) return end(response, 200, list("ServiceCIDRList", "networking.k8s.io/v1", []));
  return end(response, 404, { kind: "Status", apiVersion: "v1", status: "Failure", reason: "NotFound", code: 404 });
});
server.listen(Number(port), "127.0.0.1", () => say({ ready: true }));

const ticksASecond = 50;
let churn: NodeJS.Timeout | undefined;
let churned = 0;

for await (const line of createInterface({ input: process.stdin })) {
  const [word = "", rate = "0"] = line.split(" ");
  if (word === "churn") setChurn(Number(rate));
  else say(change(Number(word)));
}

function change(index: number): unknown {
  resourceVersion += 1;
  const version = (versions.get(index) ?? 0) + 1;
  versions.set(index, version);
  const object = sliceJson(index, version, resourceVersion, endpointCount);
  const event = `${JSON.stringify({ type: "MODIFIED", object })}\n`;
  const atUs = Number(process.hrtime.bigint() / 1_000n);
  for (const watcher of sliceWatchers) watcher.write(event);
  return { index, version, atUs };
}

function setChurn(changesASecond: number): void {
  clearInterval(churn);
  if (changesASecond === 0) return say({ churn: 0 });
  const first = Math.floor(count / 2);
  churn = setInterval(() => {
    for (let number = 0; number < changesASecond / ticksASecond; number++) change(first + (churned++ % (count - first)));
  }, 1_000 / ticksASecond);
  say({ churn: changesASecond });
}

function say(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function watch(response: ServerResponse, path: string): void {
  response.flushHeaders();
  if (!path.endsWith("/endpointslices")) return;
  sliceWatchers.add(response);
  response.on("close", () => sliceWatchers.delete(response));
}

function list(kind: string, apiVersion: string, items: readonly unknown[]): unknown {
  return { kind, apiVersion, metadata: { resourceVersion: String(resourceVersion) }, items };
}

function end(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.end(JSON.stringify(body));
}
