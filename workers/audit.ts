/**
 * The gateway's audit log: the same Events as the agent's. What they share with the apiserver's is the Audit-ID. Lines are made and
 * written behind the responses, those of some milliseconds together, because whoever reads the log is woken by each writing.
 */
import { waitUntil } from "cloudflare:workers";
import { auditLine } from "#core/access/audit-event.ts";
import type { AuditInput, AuditStage } from "#core/access/audit-event.ts";
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
  /** Calls back once when the request or stream is over. */
  whenOver(callback: (how: "answered" | "abandoned") => void): void;
}

export interface AuditSubject {
  /** The method of what is asked for. */
  readonly method: string;
  readonly place: ClusterPlace;
  readonly request: ParsedRequest;
  readonly headers: HeaderPairs;
  /** The client's address; empty where the runtime does not tell it. */
  readonly address: string;
}

/** How long a line may wait for others. */
const writeDelayMs = 20;

/** A writing that was planned this long ago was lost with the request that planned it. */
const lostWriteMs = 1_000;

/** Lines that wait at most: beyond it the request that brings one more writes them all. */
const maxWaitingLines = 1_024;

/** The lines of one isolate that wait to be written. */
export class AuditLog {
  #waiting: AuditInput[] = [];
  #plannedAtMs = Number.NEGATIVE_INFINITY;

  add(input: AuditInput): void {
    this.#waiting.push(input);
    if (this.#waiting.length >= maxWaitingLines) return this.#write();
    const nowMs = Date.now();
    if (nowMs - this.#plannedAtMs < lostWriteMs) return;
    this.#plannedAtMs = nowMs;
    waitUntil(scheduler.wait(writeDelayMs).then(() => this.#write()));
  }

  #write(): void {
    this.#plannedAtMs = Number.NEGATIVE_INFINITY;
    for (const input of this.#waiting.splice(0)) console.log(auditLine(input));
  }
}

export function beginAudit(subject: AuditSubject, log: AuditLog): RequestAudit {
  const { method, place, request, headers, address } = subject;
  const id = crypto.randomUUID();
  const receivedAtMs = Date.now();
  let user: VerifiedToken | undefined;
  let isOver = false;
  let onOver: (how: "answered" | "abandoned") => void = () => undefined;
  const write = (stage: AuditStage, code: number, annotations: Readonly<Record<string, string | number>>) => {
    log.add({
      auditId: id,
      stage,
      receivedAtMs,
      stageAtMs: Date.now(),
      request,
      method,
      target: place.target,
      user: user?.identity,
      sourceIps: address === "" ? [] : [address],
      userAgent: headerValues(headers, "user-agent")[0] ?? "",
      response: { code },
      annotations: { cluster: place.cluster ?? "", ...(user !== undefined && { issuer: user.issuer }), ...annotations },
    });
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
      onOver("answered");
      write("ResponseComplete", status, { decision: "carried", "close-reason": reason, bytes });
    },
    fail: (thrown) => {
      if (isOver) return;
      isOver = true;
      const error = toGatewayError(thrown);
      onOver(error.code === "CANCELLED" ? "abandoned" : "answered");
      write("ResponseComplete", errorTable[error.code].status, { decision: "refused", "close-reason": error.code });
    },
    whenOver: (callback) => {
      onOver = callback;
    },
  };
}
