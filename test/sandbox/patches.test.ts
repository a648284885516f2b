import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { applyJsonPatch, applyMergePatch } from "#sandbox/registry/json-patch.ts";
import { applyStrategicMerge } from "#sandbox/registry/strategic-merge.ts";

describe("JSON patch (RFC 6902)", () => {
  it.each<[string, Json, Json, Json]>([
    ["adds a field", { a: 1 }, [{ op: "add", path: "/b", value: 2 }], { a: 1, b: 2 }],
    ["replaces an existing field by add", { a: 1 }, [{ op: "add", path: "/a", value: 2 }], { a: 2 }],
    ["inserts into a list", { a: [1, 3] }, [{ op: "add", path: "/a/1", value: 2 }], { a: [1, 2, 3] }],
    ["appends to a list", { a: [1] }, [{ op: "add", path: "/a/-", value: 2 }], { a: [1, 2] }],
    ["removes from a list", { a: [1, 2] }, [{ op: "remove", path: "/a/0" }], { a: [2] }],
    ["replaces inside of a list", { a: [{ b: 1 }] }, [{ op: "replace", path: "/a/0/b", value: 2 }], { a: [{ b: 2 }] }],
    [
      "unescapes ~1 and ~0",
      { "a/b": 1, "c~d": 2 },
      [
        { op: "remove", path: "/a~1b" },
        { op: "remove", path: "/c~0d" },
      ],
      {},
    ],
    ["moves", { a: { b: 1 } }, [{ op: "move", from: "/a/b", path: "/c" }], { a: {}, c: 1 }],
    ["copies", { a: { b: 1 } }, [{ op: "copy", from: "/a", path: "/c" }], { a: { b: 1 }, c: { b: 1 } }],
    ["passes a test", { a: { x: 1, y: 2 } }, [{ op: "test", path: "/a", value: { y: 2, x: 1 } }], { a: { x: 1, y: 2 } }],
    ["replaces the whole", { a: 1 }, [{ op: "replace", path: "", value: { b: 2 } }], { b: 2 }],
  ])("%s", (_what, target, patch, value) => {
    expect(applyJsonPatch(target, patch)).toEqual({ type: "patched", value });
  });

  it.each<[string, Json, Json]>([
    ["a remove of nothing", { a: 1 }, [{ op: "remove", path: "/b" }]],
    ["a replace of nothing", { a: 1 }, [{ op: "replace", path: "/b", value: 1 }]],
    ["a parent that is missing", { a: 1 }, [{ op: "add", path: "/b/c", value: 1 }]],
    ["an index behind the end", { a: [1] }, [{ op: "add", path: "/a/2", value: 1 }]],
    ["an index with a leading zero", { a: [1] }, [{ op: "remove", path: "/a/00" }]],
    ["an append as a remove", { a: [1] }, [{ op: "remove", path: "/a/-" }]],
    ["a failed test", { a: 1 }, [{ op: "test", path: "/a", value: 2 }]],
    [
      "an inherited name",
      { a: 1 },
      [
        { op: "test", path: "/toString", value: null },
        { op: "remove", path: "/toString" },
      ],
    ],
    ["an unknown operation", { a: 1 }, [{ op: "merge", path: "/a", value: 2 }]],
    ["a path without a slash", { a: 1 }, [{ op: "add", path: "a", value: 2 }]],
    ["no list", { a: 1 }, { op: "add", path: "/a", value: 2 }],
    ["no operation", { a: 1 }, ["x"]],
    ["an add without a value", { a: 1 }, [{ op: "add", path: "/b" }]],
  ])("refuses %s", (_what, target, patch) => {
    expect(applyJsonPatch(target, patch).type).toBe("refused");
  });

  it("refuses a chain of copies that doubles the object again and again", () => {
    const doubling = Array.from({ length: 40 }, (_, index) => ({ op: "copy", from: "", path: `/c${index}` }));
    expect(applyJsonPatch({ a: "x".repeat(100) }, doubling)).toEqual({ type: "refused", why: "the patch copies too much" });
  });

  it("keeps __proto__ an ordinary field", () => {
    const result = applyJsonPatch({}, JSON.parse('[{"op":"add","path":"/__proto__","value":{"polluted":true}}]') as Json);
    expect(result.type).toBe("patched");
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("JSON merge patch (RFC 7396, appendix A)", () => {
  it.each<[Json, Json, Json]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("%j with %j gives %j", (target, patch, value) => {
    expect(applyMergePatch(target, patch)).toEqual(value);
  });
});

describe("strategic merge patch", () => {
  const podSpec = "core.v1.PodSpec";

  interface MergeCase {
    readonly what: string;
    readonly struct: string;
    readonly target: JsonObject;
    readonly patch: JsonObject;
    readonly wanted: JsonObject;
  }

  it.each<MergeCase>([
    {
      what: "merges containers by name, their ports by containerPort",
      struct: podSpec,
      target: {
        containers: [
          { name: "a", image: "1", ports: [{ containerPort: 80 }] },
          { name: "b", image: "1" },
        ],
      },
      patch: { containers: [{ name: "a", image: "2", ports: [{ containerPort: 81 }] }] },
      wanted: {
        containers: [
          { name: "a", image: "2", ports: [{ containerPort: 80 }, { containerPort: 81 }] },
          { name: "b", image: "1" },
        ],
      },
    },
    {
      what: "deletes an item by its key",
      struct: podSpec,
      target: { containers: [{ name: "a" }, { name: "b" }] },
      patch: { containers: [{ $patch: "delete", name: "a" }] },
      wanted: { containers: [{ name: "b" }] },
    },
    {
      what: "replaces a list when told",
      struct: podSpec,
      target: { containers: [{ name: "a" }, { name: "b" }] },
      patch: { containers: [{ name: "c" }, { $patch: "replace" }] },
      wanted: { containers: [{ name: "c" }] },
    },
    {
      what: "replaces a list without a merge key",
      struct: "core.v1.Container",
      target: { args: ["a", "b"] },
      patch: { args: ["c"] },
      wanted: { args: ["c"] },
    },
    {
      what: "orders a merged list as told",
      struct: podSpec,
      target: { containers: [{ name: "a" }, { name: "b" }] },
      patch: { "$setElementOrder/containers": [{ name: "b" }, { name: "c" }, { name: "a" }], containers: [{ name: "c" }] },
      wanted: { containers: [{ name: "b" }, { name: "c" }, { name: "a" }] },
    },
    {
      what: "keeps only the named keys of a union",
      struct: "apps.v1.DeploymentSpec",
      target: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } },
      patch: { strategy: { $retainKeys: ["type"], type: "Recreate" } },
      wanted: { strategy: { type: "Recreate" } },
    },
    {
      what: "adds to and deletes from a set of plain values",
      struct: "meta.v1.ObjectMeta",
      target: { finalizers: ["a", "b"] },
      patch: { "$deleteFromPrimitiveList/finalizers": ["a"], finalizers: ["c"] },
      wanted: { finalizers: ["b", "c"] },
    },
    {
      what: "removes a map's key by null",
      struct: "meta.v1.ObjectMeta",
      target: { labels: { a: "1", b: "2" } },
      patch: { labels: { a: null } },
      wanted: { labels: { b: "2" } },
    },
    {
      what: "removes an object when told",
      struct: podSpec,
      target: { securityContext: { runAsUser: 1 } },
      patch: { securityContext: { $patch: "delete" } },
      wanted: {},
    },
    {
      what: "replaces an object when told",
      struct: podSpec,
      target: { securityContext: { runAsUser: 1 } },
      patch: { securityContext: { $patch: "replace", runAsGroup: 2 } },
      wanted: { securityContext: { runAsGroup: 2 } },
    },
  ])("$what", ({ struct, target, patch, wanted }) => {
    expect(applyStrategicMerge(target, patch, struct)).toEqual(wanted);
  });
});
