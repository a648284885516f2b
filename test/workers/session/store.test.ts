import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, test } from "vitest";
import { sessionLimits } from "#workers/session/limits.ts";
import { SessionStore } from "#workers/session/store.ts";

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

describe("a session", () => {
  test("ends when nobody has looked at it for the idle time, and not a moment sooner", () =>
    inStore("idle", ({ store, wait }) => {
      store.putSession("a", 1_800_000_000_000, "sealed");
      wait(sessionLimits.idleMs - 1);
      expect(store.seeSession("a")?.sealed).toBe("sealed");
      wait(sessionLimits.idleMs - 1);
      expect(store.seeSession("a")?.sealed).toBe("sealed");
      wait(sessionLimits.idleMs);
      expect(store.seeSession("a")).toBeUndefined();
    }));

  test("ends at its absolute time however often it is looked at", () =>
    inStore("absolute", ({ store, wait }) => {
      store.putSession("a", 1_800_000_000_000, "sealed");
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
      store.putSession("a", 1_800_000_000_000, "sealed");
      store.removeSession("a");
      store.changeSession("a", "renewed");
      expect(store.seeSession("a")).toBeUndefined();
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
    store.putSession("a", 1_800_000_000_000, "sealed");
    wait(sessionLimits.startMs);
    expect(store.sweep()).toBe(true);
    expect(store.takeStart("state", "browser")).toBeUndefined();
    expect(store.seeSession("a")).toBeDefined();
    wait(sessionLimits.idleMs);
    expect(store.sweep()).toBe(false);
  }));
