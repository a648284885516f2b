/** How the gateway tells a failure to a Kubernetes client: a Status, and the same sentence as a Warning, which kubectl shows even on discovery. */
import { errorTable } from "#core/errors.ts";
import type { GatewayError } from "#core/errors.ts";
import { failureSentence, failureStatus, warningHeader } from "#core/kube/status.ts";

/** The response for a failure. Never cached, never with Retry-After unless waiting helps, never a redirect. */
export function failureResponse(error: GatewayError, headers: Readonly<Record<string, string>> = {}): Response {
  const row = errorTable[error.code];
  return new Response(JSON.stringify(failureStatus(error.code, error.message)), {
    status: row.status,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      warning: warningHeader(failureSentence(error.code, error.message)),
      ...(row.status === 401 && { "www-authenticate": 'Bearer realm="kubernetes"' }),
      ...(row.status === 429 && { "retry-after": "1" }),
      ...headers,
    },
  });
}
