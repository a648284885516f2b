import { describe, expect, test } from "vitest";
import { combineDataplanes } from "#agent/dataplane/combined.ts";
import type { ApplyOutcome, Dataplane } from "#agent/dataplane/dataplane.ts";
import { serviceTable } from "./userspace/tables.ts";

/** A dataplane that writes down its calls and answers as told. */
function createScripted(name: string, calls: string[], outcome: ApplyOutcome | Error): Dataplane {
  const answer = async (call: string): Promise<ApplyOutcome> => {
    calls.push(`${name} ${call}`);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  };
  const end = async (call: string): Promise<void> => {
    calls.push(`${name} ${call}`);
    if (outcome instanceof Error) throw outcome;
  };
  return {
    name: name === "main" ? "nftables" : "userspace",
    apply: () => answer("apply"),
    verify: () => answer("verify"),
    close: () => end("close"),
    cleanup: () => end("cleanup"),
  };
}

const applied: ApplyOutcome = { type: "applied", changes: 2 };
const failed: ApplyOutcome = { type: "failed", message: "nft is missing" };

describe("two dataplanes as one", () => {
  test("both do everything, the main one first, under its name", async () => {
    const calls: string[] = [];
    const combined = combineDataplanes(createScripted("main", calls, applied), createScripted("beside", calls, applied));
    expect(await combined.apply(serviceTable([]))).toEqual({ type: "applied", changes: 4 });
    expect(await combined.verify(serviceTable([]))).toEqual({ type: "applied", changes: 4 });
    await combined.close();
    await combined.cleanup();
    expect(combined.name).toBe("nftables");
    const wanted = ["apply", "verify", "close", "cleanup"].flatMap((call) => [`main ${call}`, `beside ${call}`]);
    expect(calls).toEqual(wanted);
  });

  test.each([
    ["says that it failed", failed, applied, "nft is missing"],
    ["throws", new Error("it broke"), applied, "it broke"],
    ["fails like the other", failed, failed, "nft is missing; nft is missing"],
  ])("the other does its part when one %s, and the failure is told", async (...row) => {
    const [, first, second, message] = row;
    const calls: string[] = [];
    const combined = combineDataplanes(createScripted("main", calls, first), createScripted("beside", calls, second));
    expect(await combined.apply(serviceTable([]))).toEqual({ type: "failed", message });
    expect(calls).toEqual(["main apply", "beside apply"]);
  });

  test("both are closed when closing one fails, and the failure is thrown", async () => {
    const calls: string[] = [];
    const combined = combineDataplanes(createScripted("main", calls, new Error("it broke")), createScripted("beside", calls, applied));
    await expect(combined.close()).rejects.toThrow("it broke");
    expect(calls).toEqual(["main close", "beside close"]);
  });
});
