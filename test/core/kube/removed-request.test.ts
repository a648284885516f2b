import { expect, test } from "vitest";
import { removedRequestNotice } from "#core/kube/removed-request.ts";
import { parseRequest } from "#core/kube/request-path.ts";

function noticeOf(target: string): string | undefined {
  const request = parseRequest("GET", target);
  if (request.type === "invalid") throw new Error(request.message);
  return removedRequestNotice(request);
}

test.each([
  ["/api/v1/proxy/namespaces/a/services/https:web:443/x", "use /api/v1/namespaces/a/services/https:web:443/proxy/"],
  ["/api/v1/proxy/namespaces/a/pods/b/", "use /api/v1/namespaces/a/pods/b/proxy/"],
  ["/api/v1/proxy/nodes/node1:10250/stats", "use /api/v1/nodes/node1:10250/proxy/"],
  ["/api/v1/proxy/namespaces/a/configmaps/b", "use the proxy subresource"],
  ["/api/v1/proxy/namespaces/a/pods/%C3%A4", "use the proxy subresource"],
  ["/api/v1/proxy/pods/b", "use the proxy subresource"],
  ["/api/v1/redirect/namespaces/a/pods/b", "`kubectl port-forward`"],
  ["/api/v1beta3/redirect/nodes/node1", "`kubectl port-forward`"],
])("%s is answered with what replaced it", (target, sentence) => {
  expect(noticeOf(target)).toContain(sentence);
});

test.each(["/api/v1/namespaces/a/pods/b/proxy/", "/apis/example.com/v1/redirect/x", "/api/v1/watch/pods", "/version"])(
  "%s is served",
  (target) => {
    expect(noticeOf(target)).toBeUndefined();
  },
);
