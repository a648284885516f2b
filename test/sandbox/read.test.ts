import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { historyLength, maxUnreadWatchBytes } from "#sandbox/limits.ts";
import { listAt, objectAt, parseJson, textAt, valueAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { parseListOptions } from "#sandbox/server/list-options.ts";
import { runWatch } from "#sandbox/server/watch.ts";
import { Store } from "#sandbox/store/store.ts";
import { configMap, startTestSandbox, TestClock } from "./harness.ts";
import type { Client } from "./harness.ts";

const maps = "/api/v1/namespaces/default/configmaps";
const table = [["accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"]] as const;
const jsonPatch = "application/merge-patch+json";

function names(list: JsonObject): readonly string[] {
  return listAt(list, "items").map((item) => textAt(item, "metadata", "name"));
}

describe("get and list", () => {
  let client: Client;

  beforeAll(async () => {
    client = await startTestSandbox({ clock: new TestClock() });
    const labels = { a: { app: "cart", tier: "web" }, b: { app: "cart", tier: "api" }, c: { app: "other" }, d: {} };
    for (const [name, set] of Object.entries(labels)) await client.post(maps, { metadata: { name, labels: set }, data: { key: name } });
  });
  afterAll(() => client.sandbox.stop());

  it("says that it is a sandbox in its version, its nodes and its namespaces", async () => {
    expect((await client.get("/version")).body["gitVersion"]).toContain("+sandbox");
    const nodes = (await client.get("/api/v1/nodes")).body;
    expect(textAt(listAt(nodes, "items")[0] ?? null, "status", "nodeInfo", "osImage")).toBe("Sallyport sandbox");
    const namespace = (await client.get("/api/v1/namespaces/default")).body;
    expect(textAt(namespace, "metadata", "annotations", "sallyport.dev/sandbox")).toContain("not a real cluster");
  });

  it.each([
    ["labelSelector=app%3Dcart", ["a", "b"]],
    ["labelSelector=app%3D%3Dcart,tier!%3Dapi", ["a"]],
    ["labelSelector=app%20in%20(cart,other)", ["a", "b", "c"]],
    ["labelSelector=tier%20notin%20(web)", ["b", "c", "d", "kube-root-ca.crt"]],
    ["labelSelector=tier", ["a", "b"]],
    ["labelSelector=!app", ["d", "kube-root-ca.crt"]],
    ["fieldSelector=metadata.name%3Dc", ["c"]],
    ["fieldSelector=metadata.name!%3Dkube-root-ca.crt&labelSelector=app%3Dcart", ["a", "b"]],
  ])("selects by %s", async (query, wanted) => {
    expect(names((await client.get(`${maps}?${query}`)).body)).toEqual(wanted);
  });

  it.each([
    "labelSelector=a%20b",
    "labelSelector=a%3D%3D%3Db",
    "fieldSelector=spec.x%3D1",
    "resourceVersion=abc",
    "resourceVersionMatch=Near",
  ])("refuses %s", async (query) => {
    expect((await client.get(`${maps}?${query}`)).status).toBe(400);
  });

  it("pages through a list as it was when its first page was read", async () => {
    const first = (await client.get(`${maps}?limit=2`)).body;
    expect(names(first)).toEqual(["a", "b"]);
    expect(objectAt(first, "metadata")["remainingItemCount"]).toBe(3);
    await client.post(maps, configMap("bb"));
    await client.ask(`${maps}/c`, { method: "DELETE" });
    const token = encodeURIComponent(textAt(first, "metadata", "continue"));
    const rest = (await client.get(`${maps}?limit=10&continue=${token}`)).body;
    expect(names(rest)).toEqual(["c", "d", "kube-root-ca.crt"]);
    expect(textAt(rest, "metadata", "resourceVersion")).toBe(textAt(first, "metadata", "resourceVersion"));
    expect((await client.get(`/api/v1/configmaps?continue=${token}`)).status).toBe(410);
    expect((await client.get(`${maps}?continue=bm9wZQ`)).status).toBe(410);
  });

  it("prints tables, and only metadata when asked", async () => {
    const answer = (await client.get(`${maps}/a`, table)).body;
    expect(answer).toMatchObject({ kind: "Table", rows: [{ cells: ["a", 1, "0s"], object: { kind: "PartialObjectMetadata" } }] });
    expect(listAt(answer, "columnDefinitions").map((column) => textAt(column, "name"))).toEqual(["Name", "Data", "Age"]);
    const partial = await client.get(maps, [["accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"]]);
    expect(partial.body["kind"]).toBe("PartialObjectMetadataList");
    expect(valueAt(listAt(partial.body, "items")[0], "data")).toBeUndefined();
  });

  it("answers in JSON when protobuf is only preferred, and 406 when nothing else is accepted", async () => {
    const preferred = await client.get(maps, [["accept", "application/vnd.kubernetes.protobuf,application/json"]]);
    expect(preferred.body["kind"]).toBe("ConfigMapList");
    expect((await client.get(maps, [["accept", "application/vnd.kubernetes.protobuf"]])).status).toBe(406);
  });

  it("gives discovery in both forms, the aggregated one with an entity tag", async () => {
    const accept = ["accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"] as const;
    const answer = await client.get("/apis", [accept]);
    expect(answer.headers["content-type"]).toBe("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    const again = await client.get("/apis", [accept, ["if-none-match", String(answer.headers.etag)]]);
    expect(again.status).toBe(304);
    expect((await client.get("/apis")).body["kind"]).toBe("APIGroupList");
    const core = listAt((await client.get("/api/v1")).body, "resources").map((resource) => textAt(resource, "name"));
    expect(core).toEqual(expect.arrayContaining(["pods", "pods/exec", "pods/log", "serviceaccounts/token"]));
  });

  it("publishes the schema that kubectl reads, with references that all lead somewhere", async () => {
    const index = objectAt((await client.get("/openapi/v3")).body, "paths");
    for (const entry of Object.values(index)) {
      const document = await client.get(textAt(entry, "serverRelativeURL"));
      const known = Object.keys(objectAt(document.body, "components", "schemas"));
      const referred = [...document.text.matchAll(/#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name);
      expect(known).toEqual(expect.arrayContaining([...new Set(referred)]));
    }
  });

  it.each([
    "/nope",
    "/apis/nope/v1",
    "/apis/apps/v1/nope",
    "/api/v1/watch/pods",
    "/api/v1/namespaces/default/pods/x/nope",
    "/openapi/v3/nope",
    "/apis/apps/v2/deployments",
  ])("has nothing at %s", async (path) => {
    expect(await client.get(path)).toMatchObject({ status: 404, body: { kind: "Status", reason: "NotFound" } });
  });

  it.each(["/%zz", "/%ff"])("refuses the broken path %s", async (path) => {
    expect((await client.get(path)).status).toBe(400);
  });
});

describe("watch", () => {
  const clock = new TestClock();
  let client: Client;

  beforeAll(async () => {
    client = await startTestSandbox({ clock });
  });
  afterAll(() => client.sandbox.stop());

  const frame = (value: JsonObject): string => `${textAt(value, "type")} ${textAt(value, "object", "metadata", "name")}`;
  const revisionOf = async (path = maps): Promise<string> => textAt((await client.get(path)).body, "metadata", "resourceVersion");

  it("resumes after a revision with exactly what was missed, then goes on live", async () => {
    const revision = await revisionOf();
    await client.post(maps, configMap("w1"));
    await client.patch(`${maps}/w1`, { data: { a: "b" } }, jsonPatch);
    const watch = await client.lines(`${maps}?watch=1&resourceVersion=${revision}`);
    expect(frame(await watch.nextJson())).toBe("ADDED w1");
    expect(frame(await watch.nextJson())).toBe("MODIFIED w1");
    await client.ask(`${maps}/w1`, { method: "DELETE" });
    const deleted = await watch.nextJson();
    expect(frame(deleted)).toBe("DELETED w1");
    expect(Number(textAt(deleted, "object", "metadata", "resourceVersion"))).toBeGreaterThan(Number(revision) + 2);
    watch.close();
  });

  it("shows an object that starts or stops to be selected as added or deleted", async () => {
    const watch = await client.lines(`${maps}?watch=1&labelSelector=on&resourceVersion=${await revisionOf()}`);
    await client.post(maps, configMap("w2"));
    const label = (value: string | null): Promise<unknown> =>
      client.patch(`${maps}/w2`, { metadata: { labels: { on: value } } }, jsonPatch);
    await label("1");
    await label("2");
    await label(null);
    expect([await watch.nextJson(), await watch.nextJson(), await watch.nextJson()].map(frame)).toEqual([
      "ADDED w2",
      "MODIFIED w2",
      "DELETED w2",
    ]);
    watch.close();
  });

  it("starts with the present state and marks its end when initial events are asked for", async () => {
    const watch = await client.lines(
      "/api/v1/nodes?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    );
    expect([await watch.nextJson(), await watch.nextJson()].map(frame)).toEqual(["ADDED sandbox-1", "ADDED sandbox-2"]);
    const mark = await watch.nextJson();
    expect(mark).toMatchObject({
      type: "BOOKMARK",
      object: { kind: "Node", metadata: { annotations: { "k8s.io/initial-events-end": "true" } } },
    });
    watch.close();
  });

  it("sends a bookmark each minute, and ends cleanly when its time is over", async () => {
    const revision = await revisionOf("/api/v1/nodes");
    const watch = await client.lines(`/api/v1/nodes?watch=1&allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion=${revision}`);
    clock.advance(60_000);
    expect(await watch.nextJson()).toMatchObject({ type: "BOOKMARK", object: { kind: "Node" } });
    clock.advance(30_000);
    expect(await watch.next()).toBeUndefined();
  });

  it("answers tables with the columns in the first frame only", async () => {
    const watch = await client.lines("/api/v1/nodes?watch=1", table);
    const [first, second] = [await watch.nextJson(), await watch.nextJson()];
    expect(listAt(first, "object", "columnDefinitions").length).toBeGreaterThan(3);
    expect(valueAt(second, "object", "columnDefinitions")).toBeNull();
    watch.close();
  });

  it("tells 410 in the stream for a revision that the history no longer reaches", async () => {
    const store = new Store();
    const resource = resourceOf("ConfigMap");
    const metadata = { name: "busy", namespace: "default", uid: "1", creationTimestamp: "", resourceVersion: "" };
    for (let count = 0; count < historyLength * 2; count += 1) store.put(resource, { apiVersion: "v1", kind: "ConfigMap", metadata });
    const options = parseListOptions(resource, new URLSearchParams("watch=1&resourceVersion=1"));
    if (options.type === "failure") throw new Error(options.status.message);
    const written: string[] = [];
    const sink = {
      signal: new AbortController().signal,
      unreadBytes: () => 0,
      write: (chunk: Buffer | string) => void written.push(chunk.toString()),
      drained: () => Promise.resolve(),
    };
    await runWatch({ resource, namespace: "default", options: options.value, presentation: { type: "object" } }, store, { sink, clock });
    expect(written.map((line) => parseJson(line))).toMatchObject([
      { type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } },
    ]);
  });

  it("ends the watch of a client that does not read", async () => {
    const store = new Store();
    const resource = resourceOf("ConfigMap");
    const metadata = { name: "busy", namespace: "default", uid: "1", creationTimestamp: "", resourceVersion: "" };
    const options = parseListOptions(resource, new URLSearchParams("watch=1"));
    if (options.type === "failure") throw new Error(options.status.message);
    const sink = {
      signal: new AbortController().signal,
      unreadBytes: () => maxUnreadWatchBytes + 1,
      write: () => undefined,
      drained: () => Promise.resolve(),
    };
    const ended = runWatch({ resource, namespace: undefined, options: options.value, presentation: { type: "object" } }, store, {
      sink,
      clock,
    });
    store.put(resource, { apiVersion: "v1", kind: "ConfigMap", metadata });
    await expect(ended).resolves.toBeUndefined();
  });

  it("refuses a revision that does not exist yet, as of another cluster", async () => {
    const answer = await client.get(`${maps}?watch=1&resourceVersion=99999999`);
    expect(answer.status).toBe(504);
    expect(objectAt(answer.body, "details")["causes"]).toEqual([
      { reason: "ResourceVersionTooLarge", message: "Too large resource version" },
    ]);
  });

  it("sends the headers before the first event", async () => {
    const watch = await client.lines(`${maps}?watch=1&fieldSelector=metadata.name=none`);
    expect(watch.status).toBe(200);
    watch.close();
  });
});
