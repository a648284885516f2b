/**
 * The agent's audit log: one `audit.k8s.io/v1` Event for each request and two for each stream, as lines of JSON. Lines are written
 * behind the work, in batches; when the log cannot keep up they are dropped and counted, and the next line says how many.
 */
import { auditLine, auditStages } from "#core/access/audit-event.ts";
import type { AuditInput, AuditStage } from "#core/access/audit-event.ts";
import type { GatewayError } from "#core/errors.ts";
import { headerValues } from "#core/kube/headers.ts";
import { parseRequest } from "#core/kube/request-path.ts";
import type { ParsedRequest } from "#core/kube/request-path.ts";
import type { Clock } from "#agent/clock.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";
import type { Identity } from "#core/access/identity.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";

/** Lines that may wait for the log: some seconds of the busiest agent. */
const maxWaitingLines = 20_000;

/** How long a line waits for others: each writing wakes whoever reads the log. */
const writeDelayMs = 20;

/** What the log says of a request that goes on. */
export interface Admission {
  readonly request: KubeRequest;
  /** Who it runs as. */
  readonly identity: Identity;
  /** The true user's name when that is somebody else. */
  readonly originalUser: string | undefined;
}

/** How a request ended. */
export interface RequestEnd {
  readonly status: number;
  readonly reason: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** More that the log says of it. */
  readonly annotations?: Readonly<Record<string, string | number>>;
}

/** Where lines go. */
export interface LineSink {
  /** Writes text and calls back once it was taken. */
  write(text: string, done: () => void): void;
}

export class RequestRecorder {
  readonly #sink: LineSink;
  readonly #clock: Clock;
  #lines: (() => string)[] = [];
  #dropped = 0;
  #isWriting = false;

  constructor(sink: LineSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  /** Events that were dropped since the start because the log could not keep up. */
  get dropped(): number {
    return this.#dropped;
  }

  begin(open: OpenPayload): RequestRecord {
    return new RequestRecord(
      open,
      () => this.#clock.now(),
      (input) => this.#add(input),
    );
  }

  /** Writes a fault of ours, which no user is told in full. */
  fault(error: GatewayError, auditId: string): void {
    const { cause } = error;
    this.#push(() =>
      JSON.stringify({
        event: "fault",
        auditId,
        message: error.message,
        cause: (cause instanceof Error ? cause : error).stack,
      }),
    );
  }

  /** Writes what waits, because the process is about to end. */
  flush(): void {
    this.#write();
  }

  #add(input: AuditInput): void {
    const annotations = this.#dropped === 0 ? input.annotations : { ...input.annotations, "dropped-events": this.#dropped };
    this.#push(() => auditLine({ ...input, annotations }));
  }

  /** @param line made when it is written, which is behind the work */
  #push(line: () => string): void {
    if (this.#lines.length >= maxWaitingLines) {
      this.#dropped += 1;
      return;
    }
    this.#lines.push(line);
    if (this.#isWriting) return;
    this.#isWriting = true;
    this.#clock.after(writeDelayMs, () => this.#write());
  }

  #write(): void {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    this.#sink.write(lines.map((line) => `${line()}\n`).join(""), () => {
      this.#isWriting = this.#lines.length > 0;
      if (this.#isWriting) this.#clock.after(writeDelayMs, () => this.#write());
    });
  }
}

/** One request's entries in the log. */
export class RequestRecord {
  readonly #open: OpenPayload;
  readonly #now: () => number;
  readonly #write: (input: AuditInput) => void;
  readonly #receivedAtMs: number;
  readonly #request: ParsedRequest;
  #token: VerifiedToken | undefined;
  #admitted: Admission | undefined;
  #isOver = false;

  constructor(open: OpenPayload, now: () => number, write: (input: AuditInput) => void) {
    this.#open = open;
    this.#now = now;
    this.#write = write;
    this.#receivedAtMs = now();
    this.#request = parseRequest(open.method, open.target);
  }

  verified(token: VerifiedToken): void {
    this.#token = token;
  }

  /** The request goes on; a stream's opening is written. */
  admit(admitted: Admission): void {
    this.#admitted = admitted;
    if (auditStages(admitted.request).includes("ResponseStarted")) this.#event("ResponseStarted", undefined);
  }

  end(end: RequestEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#event("ResponseComplete", end);
  }

  #event(stage: AuditStage, end: RequestEnd | undefined): void {
    const open = this.#open;
    this.#write({
      auditId: open.auditId,
      stage,
      receivedAtMs: this.#receivedAtMs,
      stageAtMs: this.#now(),
      request: this.#request,
      method: open.method,
      target: open.target,
      user: this.#token?.identity,
      impersonatedUser: this.#admitted?.originalUser === undefined ? undefined : this.#admitted.identity,
      sourceIps: open.clientAddress === "" ? [] : [open.clientAddress],
      userAgent: headerValues(open.headers, "user-agent")[0] ?? "",
      response: end === undefined ? undefined : { code: end.status },
      annotations: {
        cluster: open.cluster,
        decision: this.#admitted === undefined ? "refused" : "carried",
        ...(this.#token !== undefined && { issuer: this.#token.issuer }),
        ...(this.#token?.tokenId !== undefined && { "token-id": this.#token.tokenId }),
        ...(end !== undefined && {
          "close-reason": end.reason,
          "bytes-received": end.bytesIn,
          "bytes-sent": end.bytesOut,
          ...end.annotations,
        }),
      },
    });
  }
}
