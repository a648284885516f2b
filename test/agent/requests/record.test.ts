import { expect, test } from "vitest";
import { RequestRecorder } from "#agent/requests/record.ts";
import { GatewayError } from "#core/errors.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import { ManualClock } from "../manual-clock.ts";

/** A log that takes a text only when the test says so. */
function stalledSink() {
  const written: string[] = [];
  const waiting: (() => void)[] = [];
  return {
    written,
    sink: {
      write: (text: string, done: () => void) => {
        written.push(text);
        waiting.push(done);
      },
    },
    take: () => waiting.shift()?.(),
  };
}

function open(auditId: string): OpenPayload {
  return {
    ...{ kind: "http", class: "normal", cluster: "one", method: "GET", target: "/api/v1/namespaces/web/pods/p" },
    ...{ headers: [], token: "secret-token", clientAddress: "", auditId, hasBody: false, receiveBonus: 0 },
  } as const;
}

function finish(recorder: RequestRecorder, auditId: string): void {
  recorder.begin(open(auditId)).end({ status: 403, reason: "POLICY_DENIED", bytesIn: 0, bytesOut: 0 });
}

const writeDelayMs = 20;

test("requests that end together are written together, each as one line, none before its time", () => {
  const clock = new ManualClock();
  const { sink, written } = stalledSink();
  const recorder = new RequestRecorder(sink, clock);
  finish(recorder, "a");
  finish(recorder, "b");
  expect(written).toEqual([]);
  clock.advance(writeDelayMs);
  const [text = ""] = written;
  expect(text.split("\n").map((line) => (line === "" ? "" : JSON.parse(line).auditID))).toEqual(["a", "b", ""]);
  expect(text).not.toContain("secret-token");
});

test("a log that does not take its lines costs a bounded memory: what is too much is dropped and counted, and the next line says so", () => {
  const clock = new ManualClock();
  const { sink, written, take } = stalledSink();
  const recorder = new RequestRecorder(sink, clock);
  finish(recorder, "first");
  clock.advance(writeDelayMs);
  for (let index = 0; index < 20_100; index++) finish(recorder, `waiting-${index}`);
  expect(recorder.dropped).toBe(100);
  clock.advance(1_000);
  expect(written).toHaveLength(1);
  take();
  clock.advance(writeDelayMs);
  expect(written[1]?.trimEnd().split("\n")).toHaveLength(20_000);
  take();
  finish(recorder, "after");
  clock.advance(writeDelayMs);
  expect(JSON.parse(written[2] ?? "")).toMatchObject({ auditID: "after", annotations: { "sallyport.dev/dropped-events": "100" } });
});

test("a request ends once, whoever says so first", () => {
  const clock = new ManualClock();
  const { sink, written } = stalledSink();
  const record = new RequestRecorder(sink, clock).begin(open("a"));
  record.end({ status: 200, reason: "completed", bytesIn: 1, bytesOut: 2 });
  record.end({ status: 0, reason: "CANCEL", bytesIn: 1, bytesOut: 2 });
  clock.advance(writeDelayMs);
  expect(written.join("").match(/\n/g)).toHaveLength(1);
  expect(written[0]).toContain('"completed"');
});

test("a fault has the request's id, where it happened, and no token; what waits is written when the process ends", () => {
  const { sink, written } = stalledSink();
  const recorder = new RequestRecorder(sink, new ManualClock());
  recorder.fault(new GatewayError("INTERNAL", "an unexpected fault", { cause: new TypeError("no such thing") }), "the-id");
  recorder.flush();
  expect(JSON.parse(written[0] ?? "")).toMatchObject({
    event: "fault",
    auditId: "the-id",
    cause: expect.stringContaining("no such thing"),
  });
});
