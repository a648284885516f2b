import { describe, expect, it } from "vitest";
import { readConfig } from "#agent/config.ts";

const read = (args: readonly string[], environment: NodeJS.ProcessEnv = {}) =>
  readConfig(["--roles=load-balancer", ...args], { environment, random: () => "replica-x", hostname: "host" });

describe("the role load-balancer", () => {
  it("needs no flag", () => {
    expect(read([])).toMatchObject({
      type: "config",
      config: {
        role: "load-balancer",
        driver: { type: "node-ip", nodeSelector: [], addresses: "externalFirst" },
        classes: { loadBalancerClass: "sallyport.dev/node-ip", takesUnclassed: false },
        readiness: "require",
        workers: 4,
        namespace: "sallyport-load-balancer",
        identity: "replica-x",
        listen: { host: "0.0.0.0", port: 10_258 },
        action: "run",
      },
    });
  });

  it("takes them all", () => {
    const flags = [
      ...["--driver=node-ip", "--class=example.com/edge", "--default-class", "--node-readiness=ignore", "--node-selector=pool=edge"],
      ...["--node-addresses=all", "--reserved-ports=22/TCP", "--workers=8", "--listen=[::1]:9000", "--namespace=lb", "--dry-run"],
    ];
    expect(read(flags, { POD_NAME: "lb-1", POD_NAMESPACE: "other" })).toMatchObject({
      config: {
        driver: {
          nodeSelector: [{ key: "pool", operator: "in", values: ["edge"] }],
          addresses: "all",
          reservedPorts: [{ first: 22, last: 22, protocol: "TCP" }],
        },
        classes: { loadBalancerClass: "example.com/edge", takesUnclassed: true },
        readiness: "ignore",
        workers: 8,
        namespace: "lb",
        identity: "lb-1",
        listen: { host: "::1", port: 9000 },
        action: "plan",
      },
    });
  });

  it.each([
    ["--driver=aws", "this is node-ip"],
    ["--class=internal", "give a name with a domain"],
    ["--node-readiness=maybe", "this is require or ignore"],
    ["--node-selector=a b", "this is no label selector"],
    ["--node-addresses=public", "this is external-first, internal or all"],
    ["--reserved-ports=ssh", "give ports as 22/TCP,30000-32767"],
    ["--workers=0", "give a number from 1 to 64"],
    ["--workers=65", "give a number from 1 to 64"],
    ["--listen=10258", "give an address and a port"],
    ["--listen=a:70000", "give an address and a port"],
    ["--namespace=Not_one", "this is no namespace's name"],
    ["--apiserver=http://x", "give an apiserver's address as https://HOST:PORT"],
    ["--nonsense", "--nonsense"],
  ])("refuses %s, and says what it takes", (flag, problem) => {
    expect(read([flag])).toMatchObject({ type: "invalid", problems: [expect.stringContaining(problem)] });
  });
});
