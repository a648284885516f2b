import { describe, expect, it } from "vitest";
import { IgnoredEndpoints } from "#agent/service-proxy/ignored-endpoints.ts";
import type { LogEvent } from "#agent/service-proxy/reporting.ts";
import { ManualClock } from "../manual-clock.ts";

function makeTold() {
  const clock = new ManualClock();
  const log: LogEvent[] = [];
  const warnings: string[] = [];
  const told = new IgnoredEndpoints({
    node: "node-1",
    clock,
    log: (event) => log.push(event),
    warn: (service, note) => warnings.push(`${service}: ${note}`),
  });
  return { told, clock, log, warnings };
}

const endpoint = (address: string) => ({ address, reason: "it is a loopback address" });

describe("endpoints that strict mode leaves out", () => {
  it("are told at their Service: some by name, all by number", () => {
    const { told, log, warnings } = makeTold();
    told.tell("shop/web", ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"].map(endpoint));
    const because = "because it is a loopback address";
    const note = `node node-1 ignores endpoints (strict mode): 127.0.0.1, ${because}; 127.0.0.2, ${because}; 127.0.0.3, ${because}; and 2 more`;
    expect([warnings, log]).toEqual([[`shop/web: ${note}`], [{ event: "endpoints-ignored", service: "shop/web", message: note }]]);
  });

  it("are told of each Service once in ten minutes, however often they change", () => {
    const { told, clock, warnings } = makeTold();
    for (let change = 0; change < 100; change += 1) {
      told.tell("shop/web", [endpoint(`127.0.0.${change}`)]);
      told.tell("shop/web", []);
      clock.advance(5_000);
    }
    told.tell("shop/db", [endpoint("127.0.0.1")]);
    expect(warnings.map((text) => text.split(":")[0])).toEqual(["shop/web", "shop/db"]);
    clock.advance(600_000);
    told.tell("shop/web", [endpoint("127.0.0.1")]);
    expect(warnings).toHaveLength(3);
  });
});
