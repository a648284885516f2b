import { expect, test } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import { parseClusterName } from "#core/brand.ts";
import { AuditLog, beginAudit } from "#workers/audit.ts";
import type { RequestAudit } from "#workers/audit.ts";

function begin(): { readonly audit: RequestAudit; readonly over: string[] } {
  const target = "/api/v1/pods";
  const audit = beginAudit(
    {
      method: "GET",
      place: { cluster: parseClusterName("one"), target, origin: "https://gateway.example", prefix: "" },
      request: parseRequest("GET", target),
      headers: [],
      address: "",
    },
    new AuditLog(),
  );
  const over: string[] = [];
  audit.whenOver((how) => over.push(how));
  return { audit, over };
}

test.each([
  ["was answered", "answered", (audit: RequestAudit) => audit.end({ status: 200, reason: "completed", bytes: 0 })],
  ["failed", "answered", (audit: RequestAudit) => audit.fail(new GatewayError("AGENT_OFFLINE", "nobody is there"))],
  ["was left by its client", "abandoned", (audit: RequestAudit) => audit.fail(new GatewayError("CANCELLED", "the client has gone"))],
])("a request that %s is over once, as %s", (_name, how, finish) => {
  const { audit, over } = begin();
  expect(over).toEqual([]);
  finish(audit);
  finish(audit);
  expect(over).toEqual([how]);
});
