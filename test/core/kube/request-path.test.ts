import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maximumTargetBytes, parseRequest } from "#core/kube/request-path.ts";
import { maximumParameters } from "#core/kube/query.ts";

/** A resource request's fields, with what most cases leave empty. */
function resource(fields: Record<string, unknown>): unknown {
  const empty = { apiGroup: "", namespace: "", subresource: "", name: "", fieldSelector: "", labelSelector: "", proxyTail: undefined };
  return expect.objectContaining({ type: "resource", apiVersion: "v1", ...empty, ...fields });
}

const pods = { namespace: "other", resource: "pods" };

describe("verbs and parts of resource requests", () => {
  test.each([
    ["GET", "/api/v1/namespaces/other/pods", { verb: "list", ...pods }],
    ["HEAD", "/api/v1/namespaces/other/pods", { verb: "list", ...pods }],
    ["GET", "/api/v1/namespaces/other/pods/", { verb: "list", ...pods }],
    ["GET", "/api/v1/namespaces/other/pods/foo", { verb: "get", ...pods, name: "foo" }],
    ["HEAD", "/api/v1/namespaces/other/pods/foo", { verb: "get", ...pods, name: "foo" }],
    ["POST", "/api/v1/namespaces/other/pods", { verb: "create", ...pods }],
    ["PUT", "/api/v1/namespaces/other/pods/foo", { verb: "update", ...pods, name: "foo" }],
    ["PATCH", "/api/v1/namespaces/other/pods/foo/status", { verb: "patch", ...pods, name: "foo", subresource: "status" }],
    ["DELETE", "/api/v1/namespaces/other/pods/foo", { verb: "delete", ...pods, name: "foo" }],
    ["DELETE", "/api/v1/namespaces/other/pods", { verb: "deletecollection", ...pods }],
    ["GET", "/api/v1/watch/pods", { verb: "watch", resource: "pods" }],
    ["GET", "/api/v1/watch/namespaces/other/pods/foo", { verb: "watch", ...pods, name: "foo" }],
    ["GET", "/api/v1/proxy/namespaces/other/pods/foo/subpath", { verb: "proxy", ...pods, name: "foo" }],
    ["GET", "/api/v1/proxy/nodes/n/proxy/x", { verb: "proxy", resource: "nodes", name: "n" }],
    ["GET", "/api/v1/namespaces", { verb: "list", resource: "namespaces" }],
    ["GET", "/api/v1/namespaces/a", { verb: "get", resource: "namespaces", namespace: "a", name: "a" }],
    [
      "PUT",
      "/api/v1/namespaces/a/finalize",
      { verb: "update", resource: "namespaces", namespace: "a", name: "a", subresource: "finalize" },
    ],
    ["GET", "/api/v1/namespaces/a/namespaces/b", { verb: "get", resource: "namespaces", namespace: "a", name: "b" }],
    [
      "GET",
      "/apis/apps/v1/namespaces/a/deployments/d/scale",
      { verb: "get", apiGroup: "apps", namespace: "a", resource: "deployments", name: "d", subresource: "scale" },
    ],
    [
      "GET",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
      { verb: "get", apiGroup: "rbac.authorization.k8s.io", resource: "clusterroles", name: "system:node" },
    ],
    [
      "GET",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/my%20r%C3%B6le",
      { verb: "get", apiGroup: "rbac.authorization.k8s.io", resource: "clusterroles", name: "my röle" },
    ],
  ])("%s %s", (method, target, fields) => {
    expect(parseRequest(method, target)).toEqual(resource(fields));
  });

  test.each([
    ["?watch=true", "watch"],
    ["?watch=1", "watch"],
    ["?watch", "watch"],
    ["?watch=yes", "watch"],
    ["?watch=%30", "list"],
    ["?watch=0", "list"],
    ["?watch=false", "list"],
    ["?watch=FALSE", "list"],
    ["?watch=0&watch=1", "list"],
    ["?watch=1&watch=0", "watch"],
    ["?wa%74ch=1", "watch"],
    ["?watch=%zz&watch=1", "watch"],
    ["?watch=1;x", "list"],
    ["?Watch=1", "list"],
    ["", "list"],
  ])("a GET of a collection with %j is a %s", (query, verb) => {
    expect(parseRequest("GET", `/api/v1/pods${query}`)).toEqual(resource({ verb, resource: "pods" }));
  });

  test.each([
    ["metadata.name=n", "n"],
    ["metadata.name%3Dn", "n"],
    ["metadata.name==n", "n"],
    ["status.phase=Running,metadata.name=n", "n"],
    ["metadata.name=b,metadata.name=a", "a"],
    ["metadata.name=a%5C,b", "a,b"],
    ["metadata.name!=n", ""],
    ["metadata.name=..", ""],
    ["metadata.name=a/b", ""],
    ["metadata.name=a%5Cb", ""],
    ["metadata.name=n,broken", ""],
    ["metadata.name=a=b", ""],
    ["spec.nodeName=n", ""],
  ])("the field selector %s names %j", (selector, name) => {
    const wanted = { name, resource: "pods", fieldSelector: decodeURIComponent(selector) };
    expect(parseRequest("GET", `/api/v1/pods?fieldSelector=${selector}`)).toEqual(resource({ verb: "list", ...wanted }));
  });

  test("selectors count for list, watch and deletecollection, and not under a verb's path", () => {
    const query = "?labelSelector=a%3Db&fieldSelector=spec.x%3Dy";
    const selectors = { labelSelector: "a=b", fieldSelector: "spec.x=y", resource: "pods" };
    expect(parseRequest("GET", `/api/v1/pods${query}`)).toEqual(resource({ verb: "list", ...selectors }));
    expect(parseRequest("GET", `/api/v1/pods${query}&watch=1`)).toEqual(resource({ verb: "watch", ...selectors }));
    expect(parseRequest("DELETE", `/api/v1/pods${query}`)).toEqual(resource({ verb: "deletecollection", ...selectors }));
    expect(parseRequest("POST", `/api/v1/pods${query}`)).toEqual(resource({ verb: "create", resource: "pods" }));
    expect(parseRequest("GET", `/api/v1/watch/pods${query}`)).toEqual(resource({ verb: "watch", resource: "pods" }));
  });

  test.each(["labelSelector=(", "labelSelector=%ff", "limit=x", "timeoutSeconds=1e3"])(
    "a name beside a malformed %s is refused, because Kubernetes drops the name",
    (option) => {
      expect(parseRequest("GET", `/api/v1/pods?fieldSelector=metadata.name%3Dn&${option}`).type).toBe("invalid");
      expect(parseRequest("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dn&labelSelector=a+in+(b,c),!d&limit=5")).toEqual(
        expect.objectContaining({ name: "n" }),
      );
    },
  );
});

describe("non-resource requests", () => {
  test.each([
    "/",
    "/api",
    "/api/",
    "/api/v1",
    "/api/version/",
    "/apis",
    "/apis/group/version/",
    "/apis/version/resource",
    "/badprefix/v1/pods/x",
    "/version",
    "/openapi/v3/apis/apps/v1",
    "/healthz/etcd",
    "/metrics",
    "/.well-known/openid-configuration",
    "/Api/v1/pods",
  ])("%s", (target) => {
    expect(parseRequest("GET", target)).toEqual({ type: "nonResource", method: "GET", verb: "get", path: target, query: "", target });
  });

  test("the path is decoded for the decision and the target forwarded as sent", () => {
    expect(parseRequest("POST", "/logs/a%20b?c=%2f")).toEqual({
      type: "nonResource",
      method: "POST",
      verb: "post",
      path: "/logs/a b",
      query: "c=%2f",
      target: "/logs/a%20b?c=%2f",
    });
  });
});

describe("paths with more than one reading", () => {
  test.each([
    "/api/v1/namespaces/a%2fsecrets",
    "/api/v1/namespaces/a/secrets%2Fs",
    "/api/v1/%6eamespaces/a/secrets",
    "/%61pi/v1/secrets",
    "/api/v1/namespaces/a/pods/x/%70roxy/../../secrets",
    "/api/v1/namespaces/a/../b/secrets",
    "/api/v1/namespaces/a/%2e%2e/b/secrets",
    "/api/v1/namespaces/a/%2E/secrets",
    "/api/v1/namespaces/a/./secrets",
    "/api/v1/namespaces//secrets",
    "//api/v1/secrets",
    "/api/v1/secrets//",
    "/api/v1/namespaces/a\\secrets",
    "/api/v1/namespaces/a%5csecrets",
    "/api/v1/namespaces/a%5Csecrets",
    "/api/v1/namespaces/a;x=1/secrets",
    "/api/v1/namespaces/a%3bx/secrets",
    "/api/v1/secrets/a%00",
    "/api/v1/secrets/a%0a",
    "/api/v1/secrets/a%0D",
    "/api/v1/secrets/a%7f",
    "/api/v1/secrets/a%25",
    "/api/v1/namespaces/a%252fsecrets",
    "/api/v1/secrets/%c0%af",
    "/api/v1/secrets/%c0%ae%c0%ae",
    "/api/v1/secrets/%ff",
    "/api/v1/secrets/%ed%a0%80",
    "/api/v1/secrets/%f4%90%80%80",
    "/api/v1/secrets/%",
    "/api/v1/secrets/%4",
    "/api/v1/secrets/%zz",
    "/api/v1/secrets/a b",
    "/api/v1/secrets/a\tb",
    "/api/v1/secrets/a\nb",
    "/api/v1/secrets/é",
    "/api/v1/secrets#x",
    "/api/v1/secrets|x",
    "/version/../api/v1/secrets",
    "/api/v1/watch",
    "/apis/apps/v1/proxy",
    "/api/v1/pods?watch=fal%C5%BFe",
    "/api/v1/pods?fieldSelector=%ff",
    "/api/v1/pods?labelSelector=%ff",
    "api/v1/secrets",
    "http://other/api/v1/secrets",
    "*",
    "",
  ])("%j is refused", (target) => {
    expect(parseRequest("GET", target)).toEqual(expect.objectContaining({ type: "invalid", code: "REQUEST_INVALID" }));
  });

  test("a target longer than the limit is refused, and one at the limit is not", () => {
    const target = (length: number): string => `/version?${"a".repeat(length - 9)}`;
    expect(parseRequest("GET", target(maximumTargetBytes)).type).toBe("nonResource");
    expect(parseRequest("GET", target(maximumTargetBytes + 1))).toEqual(expect.objectContaining({ code: "URI_TOO_LONG" }));
  });

  test("more parameters than the limit are refused, because Go would ignore them all", () => {
    const path = "/api/v1/pods?watch=1";
    expect(parseRequest("GET", path + "&".repeat(maximumParameters - 1))).toEqual(resource({ verb: "watch", resource: "pods" }));
    expect(parseRequest("GET", path + "&".repeat(maximumParameters)).type).toBe("invalid");
  });
});

describe("methods", () => {
  const proxied = "/api/v1/namespaces/a/services/s/proxy/x";

  test.each(["OPTIONS", "LIST", "PROPFIND", "WATCH", "X"])("%s passes only under a proxy subresource, without a verb", (method) => {
    expect(parseRequest(method, "/api/v1/pods")).toEqual(expect.objectContaining({ type: "invalid", code: "METHOD_NOT_ALLOWED" }));
    expect(parseRequest(method, "/version")).toEqual(expect.objectContaining({ type: "invalid", code: "METHOD_NOT_ALLOWED" }));
    expect(parseRequest(method, "/api/v1/proxy/namespaces/a/services/s/x")).toEqual(
      expect.objectContaining({ code: "METHOD_NOT_ALLOWED" }),
    );
    expect(parseRequest(method, proxied)).toEqual(expect.objectContaining({ type: "resource", verb: "", method }));
  });

  test.each(["CONNECT", "TRACE", "connect", "Trace", "get", "Post", "options", "", "GET ", "G\nT", "GET/1", "É", "A".repeat(33)])(
    "%j passes nowhere",
    (method) => {
      expect(parseRequest(method, "/api/v1/pods")).toEqual(expect.objectContaining({ type: "invalid", code: "METHOD_NOT_ALLOWED" }));
      expect(parseRequest(method, proxied)).toEqual(expect.objectContaining({ type: "invalid", code: "METHOD_NOT_ALLOWED" }));
    },
  );
});

describe("a proxied application's path", () => {
  test.each(["", "/", "//", "/a//b/./../c", "/../../../secrets", "/%2e%2e/%2F%00%0a%25%c0%af%ff", "/;a=b", "/a\\b", "/proxy/x", "/[{|}]"])(
    "%j is opaque and changes nothing before it",
    (tail) => {
      const target = `/api/v1/namespaces/a/pods/https:p:443/proxy${tail}?watch=%zz;`;
      const wanted = {
        verb: "get",
        namespace: "a",
        resource: "pods",
        name: "https:p:443",
        subresource: "proxy",
        proxyTail: tail,
        query: "watch=%zz;",
        target,
      };
      expect(parseRequest("GET", target)).toEqual(resource(wanted));
    },
  );

  test("a tail that the apiserver could not decode is refused", () => {
    expect(parseRequest("GET", "/api/v1/nodes/n/proxy/%zz").type).toBe("invalid");
    expect(parseRequest("GET", "/api/v1/nodes/n/proxy/a b").type).toBe("invalid");
    expect(parseRequest("GET", "/api/v1/nodes/n/proxy/a#b").type).toBe("invalid");
    expect(parseRequest("GET", "/api/v1/nodes/n/proxy/a?b#c").type).toBe("invalid");
  });

  test("the part before it stays strict", () => {
    expect(parseRequest("GET", "/api/v1/namespaces/a%2fb/pods/p/proxy/x").type).toBe("invalid");
    expect(parseRequest("GET", "/api/v1/namespaces/../pods/p/proxy/x").type).toBe("invalid");
  });

  test.each([
    "/api/v1/namespaces/a/proxy/..",
    "/api/v1/namespaces/a/status/proxy/..",
    "/api/v1/namespaces/a/status/x/proxy/..",
    "/api/v1/watch/pods/proxy/..",
    "/api/v1/proxy/nodes/proxy/..",
    "/api/v1/watch/namespaces/a/pods/p/proxy/..",
    "/api/v1/proxy/nodes/n/proxy/..",
    "/api/v1/proxy/..",
    "/apis/g/v/proxy/..",
    "/version/a/b/c/proxy/..",
  ])("proxy elsewhere opens no opaque part: %s", (target) => {
    expect(parseRequest("GET", target).type).toBe("invalid");
  });
});

describe("any text at all", () => {
  const pieces = fc.constantFrom(
    "/",
    "api",
    "apis",
    "v1",
    "namespaces",
    "a",
    "pods",
    "proxy",
    "watch",
    "%2f",
    "%2e",
    "..",
    "%",
    "?",
    "&",
    "=",
    "fieldSelector",
    "metadata.name",
    ",",
    "\\",
    "é",
    "\n",
    "#",
    ";",
  );
  const target = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(pieces, { maxLength: 24 }).map((parts) => parts.join("")),
    fc.array(pieces, { maxLength: 24 }).map((parts) => `/api/v1/${parts.join("")}`),
  );
  const method = fc.oneof(fc.constantFrom("GET", "DELETE", "POST", "OPTIONS"), fc.string());

  test("is parsed without throwing, and what passes is forwarded byte for byte", () => {
    fc.assert(
      fc.property(method, target, (someMethod, someTarget) => {
        const request = parseRequest(someMethod, someTarget);
        if (request.type === "invalid") return;
        expect(request.target).toBe(someTarget);
        expect(request.method).toBe(someMethod);
        expect(request.type === "resource" && request.verb === "" && request.proxyTail === undefined).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });
});
