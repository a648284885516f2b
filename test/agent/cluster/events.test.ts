import { describe, expect, it } from "vitest";
import { EventRecorder } from "#agent/cluster/events.ts";
import type { ClusterEvent } from "#agent/cluster/events.ts";
import { maxEventNote, maxEventsInFlight } from "#agent/cluster/limits.ts";
import { makeApi } from "./scripted-api.ts";
import type { ScriptedAnswer } from "./scripted-api.ts";

const event: ClusterEvent = {
  subject: { kind: "Service", namespace: "shop", name: "web", uid: "u1" },
  type: "Warning",
  reason: "FailedToStartServiceHealthcheck",
  action: "Listen",
  note: "x".repeat(2_000),
};

function makeRecorder(answer: () => ScriptedAnswer | Promise<ScriptedAnswer>) {
  const made = makeApi(answer);
  const recorder = new EventRecorder({
    api: made.api,
    clock: made.clock,
    random: () => 0.5,
    controller: "sallyport.dev/service-proxy",
    instance: "node-1",
  });
  return { ...made, recorder };
}

describe("an event", () => {
  it("is written as events.k8s.io/v1 wants it", async () => {
    const { recorder, calls } = makeRecorder(() => ({ status: 201, object: {} }));
    await recorder.record(event);
    expect(calls[0]).toMatchObject({
      method: "POST",
      target: "/apis/events.k8s.io/v1/namespaces/shop/events",
      object: {
        metadata: { name: "web.800000000000", namespace: "shop" },
        eventTime: "2023-11-14T22:13:20.000000Z",
        reportingController: "sallyport.dev/service-proxy",
        reportingInstance: "node-1",
        regarding: { apiVersion: "v1", kind: "Service", namespace: "shop", name: "web", uid: "u1" },
        note: "x".repeat(maxEventNote),
      },
    });
  });

  it("of a Node is in the namespace default", async () => {
    const { recorder, calls } = makeRecorder(() => ({ status: 201, object: {} }));
    await recorder.record({ ...event, subject: { kind: "Node", namespace: "", name: "node-1", uid: "node-1" } });
    expect([calls[0]?.target, calls[0]?.object?.["regarding"]]).toEqual([
      "/apis/events.k8s.io/v1/namespaces/default/events",
      { apiVersion: "v1", kind: "Node", name: "node-1", uid: "node-1" },
    ]);
  });

  it.each([
    ["refused", { status: 403 }],
    ["unreachable", new Error("down")],
  ])("is lost when the apiserver is %s, and harms nobody", async (_how, answer) => {
    const { recorder } = makeRecorder(() => answer);
    await recorder.record(event);
    expect(recorder.lost).toBe(1);
  });

  it("is lost when too many are on their way", async () => {
    const answered = Promise.withResolvers<ScriptedAnswer>();
    const { recorder, calls } = makeRecorder(() => answered.promise);
    const recorded = Array.from({ length: maxEventsInFlight + 3 }, async () => recorder.record(event));
    answered.resolve({ status: 201, object: {} });
    await Promise.all(recorded);
    expect([calls.length, recorder.lost]).toEqual([maxEventsInFlight, 3]);
  });
});
