/** The gateway's audit log: the same Events as the agent's, written behind the response. What they share with the apiserver's is the Audit-ID. */
import { waitUntil } from "cloudflare:workers";
import { auditLine } from "#core/access/audit-event.ts";
import type { AuditStage } from "#core/access/audit-event.ts";
import { toGatewayError, errorTable } from "#core/errors.ts";
import { headerValues } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import type { ParsedRequest } from "#core/kube/request-path.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";
import type { ClusterPlace } from "./gateway.ts";

export interface RequestAudit {
  /** Ours, never the client's; goes to the apiserver as `Audit-ID`. */
  readonly id: string;
  verified(token: VerifiedToken): void;
  /** A stream has opened. */
  started(status: number): void;
  end(end: { readonly status: number; readonly reason: string; readonly bytes: number }): void;
  fail(thrown: unknown): void;
}

export interface AuditSubject {
  readonly raw: Request;
  readonly place: ClusterPlace;
  readonly request: ParsedRequest;
  readonly headers: HeaderPairs;
  /** The client's address; empty where the runtime does not tell it. */
  readonly address: string;
}

export function beginAudit(subject: AuditSubject): RequestAudit {
  const { raw, place, request, headers, address } = subject;
  const id = crypto.randomUUID();
  const receivedAtMs = Date.now();
  let user: VerifiedToken | undefined;
  let isOver = false;
  const write = (stage: AuditStage, code: number, annotations: Readonly<Record<string, string | number>>) => {
    const input = {
      auditId: id,
      stage,
      receivedAtMs,
      stageAtMs: Date.now(),
      request,
      method: raw.method,
      target: place.target,
      user: user?.identity,
      sourceIps: address === "" ? [] : [address],
      userAgent: headerValues(headers, "user-agent")[0] ?? "",
      response: { code },
      annotations: { cluster: place.cluster ?? "", ...(user !== undefined && { issuer: user.issuer }), ...annotations },
    };
    waitUntil(scheduler.wait(0).then(() => console.log(auditLine(input))));
  };
  return {
    id,
    verified: (token) => {
      user = token;
    },
    started: (status) => write("ResponseStarted", status, { decision: "carried" }),
    end: ({ status, reason, bytes }) => {
      if (isOver) return;
      isOver = true;
      write("ResponseComplete", status, { decision: "carried", "close-reason": reason, bytes });
    },
    fail: (thrown) => {
      if (isOver) return;
      isOver = true;
      const error = toGatewayError(thrown);
      write("ResponseComplete", errorTable[error.code].status, { decision: "refused", "close-reason": error.code });
    },
  };
}
