import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, test } from "vitest";
import { sessionLimits } from "#workers/session/limits.ts";
import { SessionStore } from "#workers/session/store.ts";
import type { NewSession } from "#workers/session/store.ts";

interface Clocked {
  readonly store: SessionStore;
  /** Moves the clock on. */
  readonly wait: (ms: number) => void;
}

/** wrangler.toml's binding, whose type belongs to the Worker's own project. */
const sessions = (env as unknown as { readonly SESSIONS: DurableObjectNamespace }).SESSIONS;

/** Runs a test on the tables of a real Durable Object, with a clock of the test's own. */
async function inStore(name: string, run: (clocked: Clocked) => void): Promise<void> {
  await runInDurableObject(sessions.getByName(name), (_object, state) => {
    let nowMs = 1_800_000_000_000;
    const store = new SessionStore(state.storage.sql, () => nowMs);
    run({ store, wait: (ms) => void (nowMs += ms) });
  });
}

function session(changes: Partial<NewSession> = {}): NewSession {
  return { id: "a", name: "name of a", createdAtMs: 1_800_000_000_000, sealed: "sealed", owners: ["alice"], ...changes };
}

describe("a session", () => {
  test("ends when nobody has looked at it for the idle time, and not a moment sooner", () =>
    inStore("idle", ({ store, wait }) => {
      store.putSession(session());
      wait(sessionLimits.idleMs - 1);
      expect(store.seeSession("a")?.sealed).toBe("sealed");
      wait(sessionLimits.idleMs - 1);
      expect(store.seeSession("a")?.sealed).toBe("sealed");
      wait(sessionLimits.idleMs);
      expect(store.seeSession("a")).toBeUndefined();
    }));

  test("ends at its absolute time however often it is looked at", () =>
    inStore("absolute", ({ store, wait }) => {
      store.putSession(session());
      const step = sessionLimits.idleMs / 2;
      for (let passedMs = step; passedMs < sessionLimits.absoluteMs; passedMs += step) {
        wait(step);
        expect(store.seeSession("a")).toBeDefined();
      }
      wait(step);
      expect(store.seeSession("a")).toBeUndefined();
    }));

  test("that has ended is gone for good, and does not come back by being changed", () =>
    inStore("removed", ({ store }) => {
      store.putSession(session());
      store.removeSession("a");
      store.changeSession("a", "renewed");
      expect(store.seeSession("a")).toBeUndefined();
    }));
});

describe("somebody's sessions", () => {
  const names = (store: SessionStore, ...owners: readonly string[]) => store.sessionsOf(owners).map(({ name }) => name);

  test("are listed for that person alone, each once, until they end", () =>
    inStore("listed", ({ store, wait }) => {
      store.putSession(session({ owners: ["alice", "alice at another issuer"] }));
      store.putSession(session({ id: "b", name: "name of b", owners: ["bob"] }));
      expect(names(store, "alice", "alice at another issuer")).toEqual(["name of a"]);
      expect(names(store, "bob")).toEqual(["name of b"]);
      expect(names(store, "carol")).toEqual([]);
      wait(sessionLimits.idleMs);
      expect(names(store, "alice", "bob")).toEqual([]);
    }));

  test("are that person's to end, by the name, and nobody else's", () =>
    inStore("ended", ({ store }) => {
      store.putSession(session());
      expect(store.endSession("name of a", ["bob"])).toBe(false);
      expect(store.endSession("a", ["alice"])).toBe(false);
      expect(store.seeSession("a")).toBeDefined();
      expect(store.endSession("name of a", ["bob", "alice"])).toBe(true);
      expect(store.seeSession("a")).toBeUndefined();
      expect(names(store, "alice")).toEqual([]);
      expect(store.endSession("name of a", ["alice"])).toBe(false);
    }));
});

describe("a sign-in under way", () => {
  test.each([
    ["is taken by the browser that began it", "browser", 0, "sealed"],
    ["is not taken by another browser", "other", 0, undefined],
    ["is taken until its time is over", "browser", sessionLimits.startMs - 1, "sealed"],
    ["is not taken afterwards", "browser", sessionLimits.startMs, undefined],
  ])("%s", (name, browser, passedMs, taken) =>
    inStore(name, ({ store, wait }) => {
      store.putStart("state", "browser", "sealed");
      wait(passedMs);
      expect(store.takeStart("state", browser)).toBe(taken);
      expect(store.takeStart("state", "browser")).toBeUndefined();
    }),
  );

  test("gives way to newer ones when there are too many", () =>
    inStore("many", ({ store, wait }) => {
      for (let index = 0; index <= sessionLimits.maxStarts; index++) {
        store.putStart(`state-${index}`, "browser", "sealed");
        wait(1);
      }
      expect(store.takeStart("state-0", "browser")).toBeUndefined();
      expect(store.takeStart("state-1", "browser")).toBe("sealed");
    }));
});

test("sweeping removes what is over, keeps the rest, and says whether there is any", () =>
  inStore("sweep", ({ store, wait }) => {
    store.putStart("state", "browser", "sealed");
    store.putSession(session());
    wait(sessionLimits.startMs);
    expect(store.sweep()).toBe(true);
    expect(store.takeStart("state", "browser")).toBeUndefined();
    expect(store.seeSession("a")).toBeDefined();
    wait(sessionLimits.idleMs);
    expect(store.sweep()).toBe(false);
  }));
