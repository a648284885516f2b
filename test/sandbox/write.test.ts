import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maxBodyBytes } from "#sandbox/limits.ts";
import { listAt, textAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { configMap, pod, startTestSandbox } from "./harness.ts";
import type { Client } from "./harness.ts";

const core = "/api/v1/namespaces/default";
const maps = `${core}/configmaps`;
const deployments = "/apis/apps/v1/namespaces/default/deployments";
const mergePatch = "application/merge-patch+json";

function deployment(name: string, spec: JsonObject = {}): JsonObject {
  const labels = { app: name };
  const template = { metadata: { labels }, spec: { containers: [{ name: "a", image: "outside" }] } };
  return { metadata: { name }, spec: { replicas: 0, selector: { matchLabels: labels }, template, ...spec } };
}

let client: Client;

beforeAll(async () => {
  client = await startTestSandbox();
});
afterAll(() => client.sandbox.stop());

describe("create and update", () => {
  it("gives identity, and keeps it whatever the writer says", async () => {
    const made = await client.post(maps, {
      metadata: { name: "id", uid: "mine", creationTimestamp: "2001-01-01T00:00:00Z", resourceVersion: "7" },
    });
    expect(made.status).toBe(201);
    const uid = textAt(made.body, "metadata", "uid");
    expect(uid).not.toBe("mine");
    const changed = await client.ask(`${maps}/id`, {
      method: "PUT",
      body: { metadata: { name: "id", creationTimestamp: null }, data: { a: "b" } },
    });
    expect(changed.body).toMatchObject({
      metadata: { uid, creationTimestamp: textAt(made.body, "metadata", "creationTimestamp") },
      data: { a: "b" },
    });
  });

  it("makes a name from generateName", async () => {
    const made = await client.post(maps, { metadata: { generateName: "x-" } });
    expect(textAt(made.body, "metadata", "name")).toMatch(/^x-[a-z0-9]{5}$/);
  });

  it("refuses a write from an older version, and one for another object", async () => {
    const made = (await client.post(maps, configMap("race"))).body;
    await client.patch(`${maps}/race`, { data: { a: "1" } }, mergePatch);
    const put = (body: Json) => client.ask(`${maps}/race`, { method: "PUT", body });
    expect(await put(made)).toMatchObject({ status: 409, body: { reason: "Conflict" } });
    expect((await put({ metadata: { name: "other" } })).status).toBe(400);
    expect((await put({ metadata: { name: "race", uid: "another" } })).status).toBe(409);
  });

  it.each<[string, string, Json, number]>([
    ["a name that is no DNS name", maps, { metadata: { name: "Bad_Name" } }, 422],
    ["no name", maps, { metadata: {} }, 422],
    ["another namespace in the body", maps, { metadata: { name: "x", namespace: "web" } }, 400],
    ["a namespace that does not exist", "/api/v1/namespaces/nope/configmaps", configMap("x"), 404],
    ["another kind", maps, { kind: "Secret", apiVersion: "v1", metadata: { name: "x" } }, 400],
    ["a value of another type", maps, { metadata: { name: "x" }, data: { a: 1 } }, 400],
    ["a list instead of an object", maps, [], 400],
    ["a name that is taken", maps, configMap("kube-root-ca.crt"), 409],
    ["a label that is none", maps, { metadata: { name: "x", labels: { a: "b c" } } }, 422],
    ["a selector that misses its template", deployments, deployment("x", { selector: { matchLabels: { app: "y" } } }), 422],
    ["a required field that is missing", deployments, { metadata: { name: "x" }, spec: { replicas: 1 } }, 422],
    ["a pod without containers", `${core}/pods`, { metadata: { name: "x" }, spec: { containers: [] } }, 422],
    [
      "two containers of one name",
      `${core}/pods`,
      pod(
        "x",
        { image: "web" },
        {
          containers: [
            { name: "a", image: "web" },
            { name: "a", image: "web" },
          ],
        },
      ),
      422,
    ],
    ["a Service without ports", `${core}/services`, { metadata: { name: "x" }, spec: {} }, 422],
    ["a Secret that is not base64", `${core}/secrets`, { metadata: { name: "x" }, data: { a: "%" } }, 422],
  ])("refuses %s", async (_what, path, body, status) => {
    const answer = await client.post(path, body);
    expect({ status: answer.status, kind: answer.body["kind"] }).toEqual({ status, kind: "Status" });
  });

  it("refuses a misspelt field when asked to be strict, and else leaves it out with a warning", async () => {
    const body = { metadata: { name: "spelt" }, daat: { a: "b" } };
    const strict = await client.post(`${maps}?fieldValidation=Strict`, body);
    expect(strict).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('strict decoding error: unknown field "daat"') as unknown },
    });
    const loose = await client.post(maps, body);
    expect(loose.status).toBe(201);
    expect(loose.headers["warning"]).toContain("unknown field 'daat'");
    expect(loose.body["daat"]).toBeUndefined();
  });

  it("checks a dry run fully and stores nothing", async () => {
    expect((await client.post(`${maps}?dryRun=All`, configMap("dry"))).status).toBe(201);
    expect((await client.get(`${maps}/dry`)).status).toBe(404);
    expect((await client.post(`${maps}?dryRun=All`, configMap("Dry"))).status).toBe(422);
    expect((await client.post(`${maps}?dryRun=some`, configMap("dry"))).status).toBe(400);
  });

  it("takes 3 MiB and refuses more, and what is no JSON, with a Status", async () => {
    const text = (bytes: number): Buffer => Buffer.from(JSON.stringify({ metadata: { name: "large" }, data: { a: "x".repeat(bytes) } }));
    expect((await client.ask(maps, { method: "POST", bytes: text(maxBodyBytes - 100) })).status).toBe(201);
    expect(await client.ask(maps, { method: "POST", bytes: text(maxBodyBytes) })).toMatchObject({
      status: 413,
      body: { reason: "RequestEntityTooLarge" },
    });
    expect((await client.ask(maps, { method: "POST", bytes: Buffer.from("{") })).status).toBe(400);
    expect((await client.ask(maps, { method: "POST", bytes: Buffer.from("a: b"), contentType: "application/yaml" })).status).toBe(415);
    expect(
      (await client.ask(maps, { method: "POST", bytes: Buffer.from("k8s\0\xff\xff"), contentType: "application/vnd.kubernetes.protobuf" }))
        .status,
    ).toBe(400);
  });

  it("keeps an own field named __proto__ as data", async () => {
    const body = Buffer.from('{"metadata":{"name":"proto","annotations":{"__proto__":"x"}},"data":{"__proto__":"y"}}');
    const made = await client.ask(`${maps}?fieldValidation=Ignore`, { method: "POST", bytes: body });
    expect(made.status).toBe(422); // no annotation can have that name
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
  });

  it("counts up the generation when the spec changes, and takes status only through /status", async () => {
    await client.post(deployments, deployment("gen", { paused: true }));
    const path = `${deployments}/gen`;
    const labelled = await client.patch(path, { metadata: { labels: { a: "b" } }, status: { replicas: 9 } }, mergePatch);
    expect(labelled.body).toMatchObject({ metadata: { generation: 1 } });
    expect(valueAt(labelled.body, "status", "replicas")).toBeUndefined();
    const scaled = await client.patch(path, { spec: { minReadySeconds: 1 } }, mergePatch);
    expect(scaled.body).toMatchObject({ metadata: { generation: 2 } });
    const status = await client.patch(`${path}/status`, { status: { collisionCount: 3 }, spec: { minReadySeconds: 5 } }, mergePatch);
    expect(status.body).toMatchObject({ spec: { minReadySeconds: 1 }, status: { collisionCount: 3 } });
  });

  it("says which fields of a pod it stores without acting on them", async () => {
    const answer = await client.post(`${core}/pods`, pod("ignored", { image: "outside", livenessProbe: { exec: { command: ["x"] } } }));
    expect(answer.headers["warning"]).toBe('299 - "sandbox: spec.containers[0].livenessProbe is stored but has no effect"');
  });

  it("gives each Service its own cluster IP, and refuses one that is taken", async () => {
    const service = (name: string, spec: JsonObject = {}): JsonObject => ({ metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
    const first = textAt((await client.post(`${core}/services`, service("s1"))).body, "spec", "clusterIP");
    const second = textAt((await client.post(`${core}/services`, service("s2"))).body, "spec", "clusterIP");
    expect(new Set([first, second]).size).toBe(2);
    expect((await client.post(`${core}/services`, service("s3", { clusterIP: first }))).status).toBe(422);
  });
});

describe("patch and scale", () => {
  it("merges lists by their key in a strategic merge patch", async () => {
    await client.post(deployments, deployment("merge"));
    const patch = {
      spec: {
        template: {
          spec: {
            containers: [
              { name: "a", env: [{ name: "X", value: "1" }] },
              { name: "b", image: "web" },
            ],
          },
        },
      },
    };
    const answer = await client.patch(`${deployments}/merge`, patch, "application/strategic-merge-patch+json");
    const containers = listAt(answer.body, "spec", "template", "spec", "containers");
    expect(containers).toMatchObject([
      { name: "a", image: "outside", env: [{ name: "X", value: "1" }] },
      { name: "b", image: "web" },
    ]);
  });

  it("applies a JSON patch as a whole or not at all", async () => {
    await client.post(maps, configMap("jp", { a: "1" }));
    const type = "application/json-patch+json";
    const bad = [
      { op: "add", path: "/data/b", value: "2" },
      { op: "test", path: "/data/a", value: "nope" },
    ];
    expect((await client.patch(`${maps}/jp`, bad, type)).status).toBe(422);
    expect((await client.get(`${maps}/jp`)).body["data"]).toEqual({ a: "1" });
    const good = [{ op: "move", from: "/data/a", path: "/data/c" }];
    expect((await client.patch(`${maps}/jp`, good, type)).body["data"]).toEqual({ c: "1" });
  });

  it.each(["application/apply-patch+yaml", "application/json", "text/plain"])("refuses a patch of type %s with 415", async (type) => {
    const answer = await client.ask(`${maps}/kube-root-ca.crt`, { method: "PATCH", bytes: Buffer.from("{}"), contentType: type });
    expect(answer).toMatchObject({ status: 415, body: { reason: "UnsupportedMediaType" } });
  });

  it("scales by GET, PUT and PATCH of the scale", async () => {
    await client.post(deployments, deployment("scaled"));
    const path = `${deployments}/scaled/scale`;
    const got = await client.get(path);
    expect(got.body).toMatchObject({ kind: "Scale", apiVersion: "autoscaling/v1", spec: { replicas: 0 } });
    expect((await client.patch(path, { spec: { replicas: 1 } }, mergePatch)).body).toMatchObject({ spec: { replicas: 1 } });
    expect((await client.ask(path, { method: "PUT", body: got.body })).status).toBe(409);
    expect((await client.patch(path, { spec: { replicas: -1 } }, mergePatch)).status).toBe(422);
  });
});

describe("delete", () => {
  it("checks the preconditions", async () => {
    const made = (await client.post(maps, configMap("pre"))).body;
    const remove = (uid: string) => client.ask(`${maps}/pre`, { method: "DELETE", body: { preconditions: { uid } } });
    expect((await remove("another")).status).toBe(409);
    expect(await remove(textAt(made, "metadata", "uid"))).toMatchObject({ status: 200, body: { kind: "Status", status: "Success" } });
  });

  it("waits for finalizers", async () => {
    await client.post(maps, { metadata: { name: "held", finalizers: ["example.com/hold"] } });
    const marked = await client.ask(`${maps}/held`, { method: "DELETE" });
    expect(textAt(marked.body, "metadata", "deletionTimestamp")).not.toBe("");
    await client.patch(`${maps}/held`, { metadata: { finalizers: null } }, mergePatch);
    expect((await client.get(`${maps}/held`)).status).toBe(404);
  });

  it("deletes a selected collection and nothing else", async () => {
    for (const [name, set] of [
      ["c1", "x"],
      ["c2", "x"],
      ["c3", "y"],
    ] as const)
      await client.post(maps, { metadata: { name, labels: { set } } });
    await client.ask(`${maps}?labelSelector=set%3Dx`, { method: "DELETE" });
    expect(listAt((await client.get(`${maps}?labelSelector=set`)).body, "items").map((item) => textAt(item, "metadata", "name"))).toEqual([
      "c3",
    ]);
  });

  it("empties a namespace before it removes it, and lets nothing new in", async () => {
    await client.post("/api/v1/namespaces", { metadata: { name: "gone" } });
    await client.post("/api/v1/namespaces/gone/configmaps", { metadata: { name: "held", finalizers: ["example.com/hold"] } });
    const watch = await client.lines("/api/v1/namespaces?watch=1&fieldSelector=metadata.name=gone");
    await client.ask("/api/v1/namespaces/gone", { method: "DELETE" });
    await watch.until((line) => line.includes('"Terminating"'));
    expect((await client.post("/api/v1/namespaces/gone/configmaps", configMap("late"))).status).toBe(403);
    await client.patch("/api/v1/namespaces/gone/configmaps/held", { metadata: { finalizers: null } }, mergePatch);
    await watch.until((line) => line.startsWith('{"type":"DELETED"'));
    watch.close();
  });

  it.each([
    ["Background", true],
    ["Orphan", false],
  ])("with propagation %s: dependents deleted = %s", async (propagationPolicy, areDeleted) => {
    const name = `own-${propagationPolicy.toLowerCase()}`;
    await client.post(deployments, deployment(name));
    const sets = `/apis/apps/v1/namespaces/default/replicasets?labelSelector=app%3D${name}`;
    const watch = await client.lines(`${sets}&watch=1`);
    await watch.until((line) => line.includes(name));
    await client.ask(`${deployments}/${name}`, { method: "DELETE", body: { propagationPolicy } });
    await watch.until((line) => (areDeleted ? line.startsWith('{"type":"DELETED"') : !line.includes("ownerReferences")));
    expect(listAt((await client.get(sets)).body, "items").length).toBe(areDeleted ? 0 : 1);
    expect((await client.get(`${deployments}/${name}`)).status).toBe(404);
    watch.close();
  });
});
