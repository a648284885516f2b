import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { createSockets } from "#agent/dataplane/userspace/dial.ts";
import { ManualClock } from "../../manual-clock.ts";
import { endpoint, nodeAddress } from "./tables.ts";

test.each([
  ["a name", endpoint(80, "localhost")],
  ["nothing", endpoint(80, "")],
  ["port 0", endpoint(0)],
  ["a port beyond the last", endpoint(65_536)],
  ["a fraction of a port", endpoint(80.5)],
])("a dial takes addresses and ports only, not %s", async (_what, wrong) => {
  expect(await createSockets(new ManualClock()).dial(wrong)).toMatchObject({
    type: "failed",
    reason: expect.stringContaining("is no endpoint"),
  });
});

test("a dial that is refused tells the system's reason", async () => {
  const server = createServer().listen(0, nodeAddress);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  expect(await createSockets(new ManualClock()).dial(endpoint(port))).toMatchObject({
    type: "failed",
    reason: expect.stringContaining("ECONNREFUSED"),
  });
});

test("a dial without an answer ends when its time is over", async () => {
  const clock = new ManualClock();
  // TEST-NET-1 has no machine; without a route the system says so itself.
  const result = createSockets(clock).dial(endpoint(9, "192.0.2.1"));
  clock.advance(3_500);
  expect(await result).toEqual({ type: "failed", reason: "no answer within 3500 ms" });
  expect(clock.waiting).toBe(0);
});
