/** How the gateway tells a failure to a Kubernetes client: a Status, and the same sentence as a Warning, which kubectl shows even on discovery. */
import type { MiddlewareHandler } from "hono";
import { errorTable, toGatewayError, withReference } from "#core/errors.ts";
import type { GatewayError } from "#core/errors.ts";
import { failureSentence, failureStatus, warningHeader } from "#core/kube/status.ts";

/** On every answer of the gateway's own: it is for whoever asked, and it is what its type says. */
const unkeptHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const;

/** Puts them on what a route answers, and the time, which workerd leaves out and by which clients set their clocks right. */
export const unkept: MiddlewareHandler = async (context, next) => {
  await next();
  context.res.headers.set("date", new Date().toUTCString());
  for (const [name, value] of Object.entries(unkeptHeaders)) context.res.headers.set(name, value);
};

/** The response for a failure. Never cached, never with Retry-After unless waiting helps, never a redirect. */
export function failureResponse(error: GatewayError, headers: Readonly<Record<string, string>> = {}): Response {
  const row = errorTable[error.code];
  return new Response(JSON.stringify(failureStatus(error.code, error.message)), {
    status: row.status,
    headers: {
      "content-type": "application/json",
      ...unkeptHeaders,
      warning: warningHeader(failureSentence(error.code, error.message)),
      ...(row.status === 401 && { "www-authenticate": 'Bearer realm="kubernetes"' }),
      ...(row.status === 429 && { "retry-after": "1" }),
      ...headers,
    },
  });
}

/** The response for anything that was thrown. A fault of ours leaves a line in the log, and its reference in the answer finds that line. */
export function tell(thrown: unknown, auditId: string = crypto.randomUUID()): Response {
  const error = toGatewayError(thrown);
  if (error.code === "INTERNAL") {
    const cause = (error.cause instanceof Error ? error.cause : error).stack;
    console.error(JSON.stringify({ event: "fault", auditId, message: error.message, cause }));
  }
  return failureResponse(withReference(error, auditId), { "audit-id": auditId });
}
