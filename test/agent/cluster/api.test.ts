import { describe, expect, it } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { maxOwnAnswerBytes, ownRequestTimeoutMs } from "#agent/cluster/limits.ts";
import { readServerVersion } from "#agent/cluster/server-version.ts";
import { codeOf } from "../apiserver/pool-maker.ts";
import { makeApi } from "./scripted-api.ts";

describe("the agent's own requests", () => {
  it("carry its own credential, and a new one once when that is refused", async () => {
    const { api, calls, invalidated } = makeApi((_call, index) => (index === 0 ? { status: 401 } : { status: 200, object: { kind: "A" } }));
    expect(await api.create("/apis/x", { kind: "A" })).toEqual({ type: "object", object: { kind: "A" } });
    expect([calls.map(({ authorization }) => authorization), invalidated()]).toEqual([["Bearer own-0", "Bearer own-1"], 1]);
  });

  it("are not repeated for ever when each credential is refused", async () => {
    const { api, calls } = makeApi(() => ({ status: 401, object: { reason: "Unauthorized" } }));
    expect([await api.get("/x"), calls.length]).toEqual([{ type: "refused", status: 401, reason: "Unauthorized" }, 2]);
  });

  it.each([
    ["HTML", "<html>"],
    ["a list", "[]"],
    ["text", '"x"'],
    ["nothing", ""],
    ["more than it could be", " ".repeat(maxOwnAnswerBytes) + "{}"],
  ])("answered with %s are UPSTREAM_INVALID", async (_what, text) => {
    const { api } = makeApi(() => ({ status: 200, text }));
    expect(await codeOf(api.get("/x"))).toBe("UPSTREAM_INVALID");
  });

  it("that are not answered end", async () => {
    const asked = Promise.withResolvers<undefined>();
    const { api, clock } = makeApi(() => {
      asked.resolve(undefined);
      return undefined;
    });
    const answered = codeOf(api.get("/x"));
    await asked.promise;
    clock.advance(ownRequestTimeoutMs);
    expect([await answered, clock.waiting]).toEqual(["UPSTREAM_TIMEOUT", 0]);
  });

  it("that cannot be sent say why", async () => {
    const { api } = makeApi(() => new GatewayError("UPSTREAM_UNREACHABLE", "down"));
    expect(await codeOf(api.get("/x"))).toBe("UPSTREAM_UNREACHABLE");
  });
});

describe("the server's version", () => {
  it.each([
    [
      { major: "1", minor: "34", gitVersion: "v1.34.4" },
      { major: 1, minor: 34, gitVersion: "v1.34.4" },
    ],
    [
      { major: "1", minor: "35+", gitVersion: "v1.35.0-gke.1" },
      { major: 1, minor: 35, gitVersion: "v1.35.0-gke.1" },
    ],
  ])("is read from %j", async (object, wanted) => {
    expect(await readServerVersion(makeApi(() => ({ status: 200, object })).api)).toEqual(wanted);
  });

  it.each([[{}], [{ major: "1" }], [{ major: 1, minor: 34 }]])("is not made up from %j", async (object) => {
    expect(await codeOf(readServerVersion(makeApi(() => ({ status: 200, object })).api))).toBe("UPSTREAM_INVALID");
  });
});
