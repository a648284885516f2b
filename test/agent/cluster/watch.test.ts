import { describe, expect, it } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { initialSilenceMs, longestRetryMs, refusalsToReadAnew, watchHeadMs, watchSilenceMs } from "#agent/cluster/limits.ts";
import { added, bookmark, deleted, makeObject, makeWatch, statusEvent, values } from "./scripted-streams.ts";
import type { OpenBody, OpenRequest, WatchUnderTest } from "./scripted-streams.ts";

/** A watch whose copy is complete: `one` at version 5. */
async function synced(): Promise<WatchUnderTest & { readonly body: OpenBody }> {
  const made = makeWatch();
  made.watch.start();
  const body = (await made.api.next()).open();
  body.send(added("one", 5, "a"), bookmark(5, true));
  await made.nextChange();
  return { ...made, body };
}

/** Lets the retry's wait pass, and gives the request that follows. */
async function retried(made: WatchUnderTest): Promise<OpenRequest> {
  const next = made.api.next();
  await made.nextTrouble();
  await made.api.clock.whenWaiting();
  made.api.clock.advance(2 * longestRetryMs);
  return next;
}

/** Resolves when the code under test has let go of a request. */
function once(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : new Promise((resolve) => signal.addEventListener("abort", resolve));
}

function list(items: readonly object[], resourceVersion: string, token = ""): object {
  return { kind: "List", metadata: { resourceVersion, ...(token !== "" && { continue: token }) }, items };
}

describe("a watch-list", () => {
  it("asks for everything and its end, with bookmarks and a time limit", async () => {
    const { api, watch } = makeWatch();
    watch.start();
    const { path, query, longRunning } = await api.next();
    expect([path, Object.fromEntries(query), longRunning]).toEqual([
      "/apis/example.com/v1/things",
      {
        labelSelector: "!hidden",
        watch: "true",
        allowWatchBookmarks: "true",
        timeoutSeconds: "450",
        sendInitialEvents: "true",
        resourceVersionMatch: "NotOlderThan",
      },
      true,
    ]);
    await watch.stop();
  });

  it("is taken over as a whole", async () => {
    const { api, watch, told, nextChange, copy } = makeWatch();
    watch.start();
    const body = (await api.next()).open();
    body.send(added("one", 3, "a"), bookmark(3), added("two", 4, "b"), added("not-kept", 4), bookmark(6, true));
    expect(await nextChange()).toHaveLength(2);
    expect([watch.isSynced, told.length, copy()]).toEqual([true, 1, { "default/one": "a", "default/two": "b" }]);
    await watch.stop();
  });

  it("of nothing is complete too, and says so", async () => {
    const { api, watch, nextChange } = makeWatch();
    watch.start();
    (await api.next()).open().send(bookmark(6, true));
    expect([await nextChange(), watch.isSynced]).toEqual([[], true]);
    await watch.stop();
  });

  it.each([400, 422])("that is refused with %i becomes a list in pages, at once", async (status) => {
    const { api, watch, nextChange, copy, troubles } = makeWatch();
    watch.start();
    (await api.next()).answer(status, { kind: "Status", reason: "Invalid" });
    const first = await api.next();
    expect([first.query.get("limit"), first.query.get("watch"), first.longRunning]).toEqual(["500", null, false]);
    first.answer(200, list([makeObject("one", 3, "a")], "9", "t1"));
    const second = await api.next();
    expect(second.query.get("continue")).toBe("t1");
    second.answer(200, list([makeObject("two", 4, "b"), makeObject("not-kept", 4)], "9"));
    expect(await nextChange()).toHaveLength(2);
    const follow = await api.next();
    expect([follow.query.get("resourceVersion"), copy(), troubles]).toEqual(["9", { "default/one": "a", "default/two": "b" }, []]);
    await watch.stop();
  });

  it("that never says it is complete becomes a list in pages", async () => {
    const made = makeWatch();
    made.watch.start();
    (await made.api.next()).open().send(added("one", 3, "a"));
    await made.api.clock.whenSetTo(initialSilenceMs);
    const next = made.api.next();
    made.api.clock.advance(initialSilenceMs);
    expect((await next).query.get("limit")).toBe("500");
    await made.watch.stop();
  });

  it("that never sends anything becomes a list in pages too", async () => {
    const made = makeWatch();
    made.watch.start();
    (await made.api.next()).open();
    await made.api.clock.whenSetTo(initialSilenceMs);
    const next = made.api.next();
    made.api.clock.advance(initialSilenceMs);
    expect((await next).query.get("limit")).toBe("500");
    await made.watch.stop();
  });

  it("that breaks off before it is complete leaves nothing behind, and is asked for again", async () => {
    const made = makeWatch();
    made.watch.start();
    const body = (await made.api.next()).open();
    body.send(added("one", 3, "a"), bookmark(3));
    body.end();
    const again = await retried(made);
    expect([made.watch.isSynced, made.told]).toEqual([false, []]);
    again.open().send(added("two", 4, "b"), bookmark(5, true));
    await made.nextChange();
    expect(made.copy()).toEqual({ "default/two": "b" });
    await made.watch.stop();
  });
});

describe("a list in pages", () => {
  it("whose continue token expires is read anew as a whole, and mixes no two states", async () => {
    const { api, watch, nextChange, copy } = makeWatch();
    watch.start();
    (await api.next()).answer(422, {});
    (await api.next()).answer(200, list([makeObject("gone-since", 1, "x")], "9", "t1"));
    (await api.next()).answer(410, { kind: "Status", reason: "Expired", metadata: { continue: "t2" } });
    const whole = await api.next();
    expect([whole.query.get("limit"), whole.query.get("continue")]).toEqual([null, null]);
    whole.answer(200, list([makeObject("one", 3, "a")], "12"));
    await nextChange();
    expect([copy(), (await api.next()).query.get("resourceVersion")]).toEqual([{ "default/one": "a" }, "12"]);
    await watch.stop();
  });

  it.each([
    ["broken off", '{"kind":"List","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"}}'],
    ["without items", '{"kind":"List","metadata":{"resourceVersion":"9"}}'],
    ["without a version", '{"kind":"List","metadata":{},"items":[]}'],
    ["of another kind of things", '{"metadata":{"resourceVersion":"9"},"items":[1,"a"]}'],
    ["that is HTML", "<html></html>"],
  ])("%s is not taken for the cluster's state", async (_what, text) => {
    const made = makeWatch();
    made.watch.start();
    (await made.api.next()).answer(422, {});
    const body = (await made.api.next()).open();
    body.sendText(text);
    body.end();
    const again = await retried(made);
    expect([again.query.get("limit"), made.watch.isSynced, made.told]).toEqual(["500", false, []]);
    await made.watch.stop();
  });
});

describe("changes", () => {
  it("are told with what was there before, several at once, and what keeps its value is none", async () => {
    const { watch, body, nextChange, copy } = await synced();
    body.send(
      added("one", 6, "a"),
      added("two", 7, "b"),
      { ...added("one", 8, "c"), type: "MODIFIED" },
      deleted("two", 9),
      deleted("never", 10),
    );
    expect(await nextChange()).toEqual([
      { type: "set", key: "default/two", value: "b", previous: undefined },
      { type: "set", key: "default/one", value: "c", previous: "a" },
      { type: "removed", key: "default/two", previous: "b" },
    ]);
    expect(copy()).toEqual({ "default/one": "c" });
    await watch.stop();
  });

  it("to what is not kept remove it", async () => {
    const { watch, body, nextChange, copy } = await synced();
    body.send({ ...added("one", 6), type: "MODIFIED" });
    expect([await nextChange(), copy()]).toEqual([[{ type: "removed", key: "default/one", previous: "a" }], {}]);
    await watch.stop();
  });

  it("arrive whole, however their bytes are cut", async () => {
    const { watch, body, nextChange } = await synced();
    const text = `${JSON.stringify(added("two", 7, "ü"))}\n`;
    const bytes = Buffer.from(text).toString("latin1");
    for (const character of bytes) body.sendText(Buffer.from(character, "latin1").toString("latin1"));
    expect(await nextChange()).toHaveLength(1);
    await watch.stop();
  });

  it("that have been applied already are not applied again", async () => {
    const { watch, body, nextChange, copy } = await synced();
    body.send(added("one", 12, "new"), added("one", 9, "old"), deleted("one", 12));
    await nextChange();
    body.send(added("last", 13, "x"));
    await nextChange();
    expect(copy()).toEqual({ "default/one": "new", "default/last": "x" });
    await watch.stop();
  });

  it("before an event that cannot be read are applied, and the watch goes on behind them", async () => {
    const made = await synced();
    made.body.sendText(`${JSON.stringify(added("two", 8, "b"))}\n{"type":"ADDED"}\n`);
    await made.nextChange();
    const again = await retried(made);
    expect([again.query.get("resourceVersion"), made.copy()]).toEqual(["8", { "default/one": "a", "default/two": "b" }]);
    await made.watch.stop();
  });
});

describe("a watch that ends", () => {
  it("goes on from the last version, bookmarks included, without a new list", async () => {
    const { api, watch, body } = await synced();
    body.send(added("two", 7, "b"), bookmark(40));
    body.end();
    const { query } = await api.next();
    expect([query.get("resourceVersion"), query.get("sendInitialEvents"), query.get("allowWatchBookmarks")]).toEqual(["40", null, "true"]);
    await watch.stop();
  });

  it("because the version is too old reads everything anew, and tells what is gone", async () => {
    const { api, watch, body, nextChange, copy } = await synced();
    body.send(statusEvent(410, "Expired"));
    const again = await api.next();
    expect(again.query.get("sendInitialEvents")).toBe("true");
    again.open().send(added("two", 50, "b"), bookmark(50, true));
    expect(await nextChange()).toEqual([
      { type: "removed", key: "default/one", previous: "a" },
      { type: "set", key: "default/two", value: "b", previous: undefined },
    ]);
    expect(copy()).toEqual({ "default/two": "b" });
    await watch.stop();
  });

  it("with 410 in place of an answer reads everything anew too", async () => {
    const { api, watch, body } = await synced();
    body.send(bookmark(6));
    body.end();
    (await api.next()).answer(410, { kind: "Status", reason: "Expired" });
    expect((await api.next()).query.get("sendInitialEvents")).toBe("true");
    await watch.stop();
  });

  it("again and again because its version is too old is not opened in a loop", async () => {
    const made = await synced();
    made.body.send(statusEvent(410, "Expired"));
    (await made.api.next()).open().send(bookmark(50, true), statusEvent(410, "Expired"));
    await made.api.clock.whenWaiting();
    expect(made.api.requests).toHaveLength(2);
    await made.watch.stop();
  });

  it("with an error keeps the copy, waits, and goes on from its version", async () => {
    const made = await synced();
    made.body.send(statusEvent(500, "InternalError"));
    const again = await retried(made);
    expect([again.query.get("resourceVersion"), made.copy()]).toEqual(["5", { "default/one": "a" }]);
    await made.watch.stop();
  });
});

describe("an apiserver that cannot answer", () => {
  it("is asked again with longer and longer waits, while the copy stays, and no new list is made afterwards", async () => {
    const made = await synced();
    made.body.breakOff();
    await made.nextTrouble();
    const waits: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      await made.api.clock.whenWaiting();
      waits.push(made.api.clock.lastWaitMs);
      made.api.clock.advance(made.api.clock.lastWaitMs);
      const request = await made.api.next();
      request.fail(new GatewayError("UPSTREAM_UNREACHABLE", "down"));
      await once(request.signal);
    }
    expect(waits).toEqual([800, 1600, 3200, 6400, 12_800, 25_600, longestRetryMs, longestRetryMs]);
    await made.api.clock.whenWaiting();
    made.api.clock.advance(longestRetryMs);
    const follow = await made.api.next();
    expect([follow.query.get("resourceVersion"), made.copy()]).toEqual(["5", { "default/one": "a" }]);
    follow.open().send(added("two", 9, "b"));
    await made.nextChange();
    expect(made.watch.state).toMatchObject({ isSynced: true, count: 2, trouble: undefined });
    await made.watch.stop();
  });

  it("and says when to come back is not asked before", async () => {
    const made = await synced();
    made.body.breakOff();
    (await retried(made)).answer(429, { kind: "Status", reason: "TooManyRequests" }, [["Retry-After", "90"]]);
    await made.nextTrouble();
    const asked = made.api.requests.length;
    await made.api.clock.whenWaiting();
    made.api.clock.advance(89_999);
    expect(made.api.requests).toHaveLength(asked);
    const next = made.api.next();
    made.api.clock.advance(1);
    expect((await next).query.get("resourceVersion")).toBe("5");
    await made.watch.stop();
  });

  it("to a version again and again, as after a restored backup, is asked for everything", async () => {
    const made = await synced();
    made.body.breakOff();
    let request = await retried(made);
    for (let round = 0; round < refusalsToReadAnew; round += 1) {
      expect(request.query.get("resourceVersion")).toBe("5");
      request.answer(504, { kind: "Status", reason: "Timeout" });
      await once(request.signal);
      await made.api.clock.whenWaiting();
      made.api.clock.advance(2 * longestRetryMs);
      request = await made.api.next();
    }
    expect(request.query.get("sendInitialEvents")).toBe("true");
    request.open().send(added("older", 3, "o"), bookmark(3, true));
    await made.nextChange();
    expect(made.copy()).toEqual({ "default/older": "o" });
    await made.watch.stop();
  });

  it("but keeps the connection open is noticed by its silence", async () => {
    const made = await synced();
    await made.api.clock.whenWaiting();
    made.api.clock.advance(watchSilenceMs - 1);
    expect(made.api.requests[0]?.signal.aborted).toBe(false);
    made.api.clock.advance(1);
    const again = await retried(made);
    expect([made.api.requests[0]?.signal.aborted, again.query.get("resourceVersion")]).toEqual([true, "5"]);
    await made.watch.stop();
  });

  it("and never begins to answer is given up", async () => {
    const made = makeWatch();
    made.watch.start();
    await made.api.next();
    await made.api.clock.whenWaiting();
    made.api.clock.advance(watchHeadMs);
    expect((await retried(made)).query.get("sendInitialEvents")).toBe("true");
    await made.watch.stop();
  });

  it("with 401 gets a new credential once", async () => {
    const { api, watch } = makeWatch();
    watch.start();
    (await api.next()).answer(401, {});
    (await api.next()).open().send(bookmark(3, true));
    expect(api.invalidated).toBe(1);
    await watch.stop();
  });

  it("and closes a watch as soon as it is open is not asked in a loop", async () => {
    const made = await synced();
    made.body.send(bookmark(6));
    made.body.end();
    (await made.api.next()).open().end();
    await made.nextTrouble();
    await made.api.clock.whenWaiting();
    expect(made.api.requests).toHaveLength(2);
    await made.watch.stop();
  });
});

describe("a resource that the apiserver does not serve", () => {
  it("is empty where it is optional, and looked for again later", async () => {
    const { api, watch, nextChange } = makeWatch({ ...values, isOptional: true });
    watch.start();
    (await api.next()).answer(404, {});
    expect([await nextChange(), watch.isSynced]).toEqual([[], true]);
    await watch.stop();
  });

  it("is waited for where it is not", async () => {
    const { api, watch, nextTrouble } = makeWatch();
    watch.start();
    (await api.next()).answer(404, {});
    expect([await nextTrouble(), watch.isSynced]).toEqual(["the apiserver refuses /apis/example.com/v1/things with 404", false]);
    await watch.stop();
  });
});

describe("stopping", () => {
  it("ends the open request and leaves no timer", async () => {
    const { api, watch } = await synced();
    await watch.stop();
    expect([api.requests[0]?.signal.aborted, api.clock.waiting]).toEqual([true, 0]);
  });

  it("ends a wait", async () => {
    const made = await synced();
    made.body.breakOff();
    await made.nextTrouble();
    await made.api.clock.whenWaiting();
    await made.watch.stop();
    expect(made.api.clock.waiting).toBe(0);
  });
});
