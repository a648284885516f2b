/** What crosses the gateway is what the apiserver sent: bytes, encodings and headers, compared with the same request made directly. */
import { gunzipSync } from "node:zlib";

import { beforeAll, describe, expect, test } from "vitest";

import type { HttpAnswer, HttpQuestion } from "#test/cluster/fixture/http-client.ts";
import { namespace } from "#test/cluster/fixture/names.ts";
import { ann, lee } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";

const configMaps = `/api/v1/namespaces/${namespace}/configmaps`;
const protobuf = "application/vnd.kubernetes.protobuf";
const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const mebibyte = 1 << 20;

/** Headers that are each connection's or each answer's own, or that the gateway promises to add or to change. */
const ownHeaders = [
  "last-modified",
  "audit-id",
  "connection",
  "date",
  "keep-alive",
  "transfer-encoding",
  "content-length",
  "server-timing",
  "cache-control",
];

/** Larger than the 128 KiB from which the apiserver compresses. */
const compressible = {
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: "compressible", namespace },
  data: { text: "sally ".repeat(40_000) },
};

/** The kind of object that is compared at its largest; a CustomResource has no validation of its own. */
const blobs = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "blobs.sallyport.test" },
  spec: {
    group: "sallyport.test",
    scope: "Namespaced",
    names: { plural: "blobs", singular: "blob", kind: "Blob" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
};

/** A list at one version: otherwise any write in the cluster between the two requests gives two answers. */
async function pinned(system: GatewaySystem, question: HttpQuestion): Promise<HttpQuestion> {
  const [path = "", query] = question.path.split("?");
  if (question.method !== undefined || !/\/(?:configmaps|serviceaccounts)$/.test(path)) return question;
  const list: { readonly metadata: { readonly resourceVersion: string } } = JSON.parse(
    (await system.askDirectly(lee, { path })).bytes.toString("utf8"),
  );
  const version = `resourceVersion=${list.metadata.resourceVersion}&resourceVersionMatch=Exact`;
  return { ...question, path: `${path}?${query === undefined ? "" : `${query}&`}${version}` };
}

/** Registers the tests. */
export function transparencyTests(system: () => GatewaySystem): void {
  describe("an answer is the apiserver's own", () => {
    beforeAll(async () => {
      const { cluster } = system();
      await cluster.admin(["create", "-f", "-"], {
        stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items: [blobs, compressible] }),
      });
      await cluster.admin(["wait", "--for=condition=Established", "crd/blobs.sallyport.test", "--timeout=60s"]);
    });

    test.each<readonly [string, HttpQuestion]>([
      ["a list", { path: configMaps }],
      ["a page of a list", { path: `${configMaps}?limit=1` }],
      ["a list in protobuf", { path: configMaps, headers: { accept: protobuf } }],
      ["a list with gzip", { path: configMaps, headers: { "accept-encoding": "gzip" } }],
      ["a list in protobuf with gzip", { path: configMaps, headers: { accept: protobuf, "accept-encoding": "gzip" } }],
      ["a table", { path: `/api/v1/namespaces/${namespace}/serviceaccounts`, headers: { accept: table } }],
      [
        "the metadata of a list",
        { path: configMaps, headers: { accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" } },
      ],
      ["aggregated discovery", { path: "/apis", headers: { accept: discovery } }],
      ["aggregated discovery of the core group", { path: "/api", headers: { accept: discovery, "accept-encoding": "gzip" } }],
      ["the list of groups", { path: "/apis" }],
      ["OpenAPI v2", { path: "/openapi/v2", headers: { accept: "application/json", "accept-encoding": "gzip" } }],
      [
        "OpenAPI v2 in protobuf",
        { path: "/openapi/v2", headers: { accept: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" } },
      ],
      ["OpenAPI v3", { path: "/openapi/v3/apis/apps/v1", headers: { "accept-encoding": "gzip" } }],
      ["the version", { path: "/version" }],
      ["YAML", { path: `${configMaps}/compressible`, headers: { accept: "application/yaml" } }],
      ["an object that is not there", { path: `${configMaps}/missing` }],
      ["what is forbidden", { path: "/api/v1/nodes" }],
      ["a kind that is not there", { path: "/apis/sallyport.test/v1/others" }],
      ["a verb that is not there", { path: "/version", method: "DELETE" }],
      ["a representation that is not there", { path: configMaps, headers: { accept: "text/html" } }],
      ["a timeout that is none", { path: `${configMaps}?timeout=soon` }],
      ["a body that is none", { path: configMaps, method: "POST", headers: { "content-type": "application/json" }, body: "{" }],
    ])("for %s, byte for byte", async (_what, row) => {
      const question = await pinned(system(), row);
      const [here, there] = await Promise.all([system().ask(lee, question), system().askDirectly(lee, question)]);
      expect(here.status).toBe(there.status);
      expect(here.bytes.equals(there.bytes)).toBe(true);
      expect(sharedHeaders(here)).toEqual(sharedHeaders(there));
    });

    test("which compresses only what is large, and whose gzip is not undone", async () => {
      const answer = await system().ask(lee, { path: configMaps, headers: { "accept-encoding": "gzip" } });
      expect(answer.headers["content-encoding"]).toBe("gzip");
      expect(answer.headers["vary"]).toContain("Accept-Encoding");
      expect(gunzipSync(answer.bytes).toString("utf8")).toContain("sally sally");
      const small = await system().ask(lee, { path: "/version", headers: { "accept-encoding": "gzip" } });
      expect(small.headers["content-encoding"]).toBeUndefined();
    });

    test("and 304 for a discovery document that the client has, by the same ETag", async () => {
      const first = await system().askDirectly(lee, { path: "/apis", headers: { accept: discovery } });
      const etag = first.headers.etag ?? "";
      expect(etag).not.toBe("");
      const again = await system().ask(lee, { path: "/apis", headers: { accept: discovery, "if-none-match": etag } });
      expect(again).toMatchObject({ status: 304, text: "", headers: { etag } });
    });

    test.each([
      ["an object of almost 3 MiB", 3 * mebibyte - 1024, 201],
      ["an object above 3 MiB", 3 * mebibyte + 1024, 413],
    ])("for %s both ways", async (_what, size, status) => {
      const path = `/apis/sallyport.test/v1/namespaces/${namespace}/blobs?dryRun=All`;
      const object = { apiVersion: "sallyport.test/v1", kind: "Blob", metadata: { name: "large" }, text: "" };
      const body = JSON.stringify({ ...object, text: "x".repeat(size - JSON.stringify(object).length) });
      const question: HttpQuestion = { path, method: "POST", headers: { "content-type": "application/json" }, body };
      const [here, there] = [await system().ask(ann, question), await system().askDirectly(ann, question)];
      expect([here.status, there.status]).toEqual([status, status]);
      expect(withoutCreation(here.text)).toEqual(withoutCreation(there.text));
    });

    test("with every warning", async () => {
      const path = `/apis/apps/v1/namespaces/${namespace}/deployments?dryRun=All&fieldValidation=Warn`;
      const template = {
        metadata: { labels: { app: "x" } },
        spec: { containers: [{ name: "c", image: "i" }], unknownOne: 1, unknownTwo: 2 },
      };
      const body = JSON.stringify({ metadata: { name: "warned" }, spec: { selector: { matchLabels: { app: "x" } }, template } });
      const question: HttpQuestion = { path, method: "POST", headers: { "content-type": "application/json" }, body };
      const [here, there] = [await system().ask(lee, question), await system().askDirectly(lee, question)];
      expect(here.status).toBe(201);
      expect(here.headers["warning"]).toBe(there.headers["warning"]);
      expect(here.headers["warning"]).toContain("unknownTwo");
    });

    test("that no shared cache may keep, though the apiserver says otherwise", async () => {
      const question: HttpQuestion = { path: "/apis", headers: { accept: discovery } };
      expect((await system().askDirectly(lee, question)).headers["cache-control"]).toContain("public");
      expect((await system().ask(lee, question)).headers["cache-control"]).toMatch(/private|no-store/);
    });
  });

  test("a watch-list gives what is there, the bookmark that ends it, and its clean end", async () => {
    const path = `${configMaps}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2`;
    for (const headers of [{}, { "accept-encoding": "gzip" }]) {
      const answer = await system().ask(lee, { path, headers });
      expect(answer.status).toBe(200);
      const text = answer.headers["content-encoding"] === "gzip" ? gunzipSync(answer.bytes).toString("utf8") : answer.text;
      const events = text.trim().split("\n").map(parseEvent);
      const listed = JSON.parse((await system().askDirectly(lee, { path: configMaps })).text) as {
        items: { metadata: { name: string } }[];
      };
      const added = events.filter(({ type }) => type === "ADDED").map(({ object }) => object.metadata.name);
      expect(added.toSorted()).toEqual(listed.items.map(({ metadata }) => metadata.name).toSorted());
      const end = events.find(({ type }) => type === "BOOKMARK");
      expect(end?.object.metadata.annotations).toEqual({ "k8s.io/initial-events-end": "true" });
    }
  });

  test("a watch in protobuf keeps its frames", async () => {
    const path = `${configMaps}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2`;
    const answer = await system().ask(lee, { path, headers: { accept: `${protobuf};stream=watch` } });
    expect(answer.headers["content-type"]).toContain(protobuf);
    let frames = 0;
    let offset = 0;
    for (; offset < answer.bytes.length; frames++) offset += frameHeaderBytes + answer.bytes.readUInt32BE(offset);
    // Every object and the bookmark, and not a byte more.
    const { items } = JSON.parse((await system().askDirectly(lee, { path: configMaps })).text) as { items: readonly unknown[] };
    expect({ frames, offset }).toEqual({ frames: items.length + 1, offset: answer.bytes.length });
  });
}

/** A frame of a protobuf watch begins with its length. */
const frameHeaderBytes = 4;

interface WatchEvent {
  readonly type: string;
  readonly object: { readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> } };
}

function parseEvent(line: string): WatchEvent {
  return JSON.parse(line) as WatchEvent; // events of the watch protocol, one on each line
}

/** `last-modified` is when each of the apiservers built its own OpenAPI document. */
function sharedHeaders(answer: HttpAnswer): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !ownHeaders.includes(name)));
}

/** What each creation makes anew, and who is named in errors. */
function withoutCreation(text: string): string {
  return text.replaceAll(/"(?:uid|creationTimestamp|time)":"[^"]*"/g, '""');
}
