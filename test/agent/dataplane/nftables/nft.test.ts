import { spawn } from "node:child_process";

import { describe, expect, it } from "vitest";
import { createNft, type Nft, NftError } from "#agent/dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "#agent/dataplane/nftables/nftables.ts";
import { probeNftables } from "#agent/dataplane/nftables/probe.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { makeEndpoint, makeObjects, makeService, makeSlice, planOptions } from "../makers.ts";

const shell = (script: string, timeoutMs = 10_000): Nft => createNft({ command: ["sh", "-c", script, "sh"], spawn, timeoutMs });

describe("the program nft", () => {
  it("is given scripts on its input, and its answers are its output", async () => {
    expect(await shell('echo "$*"').list(["list", "tables"])).toBe("-j list tables\n");
    await expect(shell('[ "$*" = "-f -" ] && grep -q hello').run("hello")).resolves.toBeUndefined();
    await expect(shell('[ "$*" = "-c -f -" ] && grep -q hello').check("hello")).resolves.toBeUndefined();
  });

  it("fails with its own words", async () => {
    const failed = shell("echo No such file >&2; exit 1").run("x");
    await expect(failed).rejects.toThrow(new NftError("nft ended with 1: No such file"));
  });

  it("is ended when it hangs", async () => {
    await expect(shell("exec sleep 1000", 50).run("x")).rejects.toThrow(/ended by SIGKILL/);
  });

  it("may be missing", async () => {
    const missing = createNft({ command: ["/nonexistent/nft"], spawn, timeoutMs: 1_000 });
    await expect(missing.version()).rejects.toThrow(/could not be run.*ENOENT/);
  });

  it("may end before it has read everything", async () => {
    await expect(shell("exit 7").run("x".repeat(1_000_000))).rejects.toThrow("ended with 7");
  });
});

describe("the probe", () => {
  const usable = { version: "nftables v1.0.6 (Lester Gooch #5)" };

  it.each([
    ["nftables v1.0.1 (Fearless Fosdick #3)", "usable"],
    ["nftables v1.0.6 (Lester Gooch #5)", "usable"],
    ["nftables v1.1.3 (Commodore Bullmoose #4)", "usable"],
    ["nftables v2.0.0 (x)", "usable"],
    ["nftables v1.0.0 (Fearless Fosdick #2)", "unusable"],
    ["nftables v0.9.8 (E.D.S.)", "unusable"],
    ["something else", "unusable"],
  ])("finds %s %s", async (version, wanted) => {
    expect((await probeNftables(fakeNft({ version }), ["IPv4", "IPv6"], 14)).type).toBe(wanted);
  });

  it("lets the kernel see chains of every kind in each family, and changes nothing", async () => {
    const checked: string[] = [];
    await probeNftables(fakeNft({ ...usable, check: (script) => checked.push(script) }), ["IPv4", "IPv6"], 14);
    expect(checked.map((script) => script.includes("add rule ip6 sallyport"))).toEqual([false, true]);
    for (const chain of ["sticky-node-inside-2", "scan-2", "remember-1", "nat-prerouting"]) expect(checked[0]).toContain(` ${chain} `);
  });

  it("says what the machine lacks, in nft's words too", async () => {
    const refusing = fakeNft({ ...usable, check: () => raise(new NftError("nft ended with 1: Operation not permitted")) });
    const found = await probeNftables(refusing, ["IPv4"], 14);
    expect(found).toMatchObject({ type: "unusable", message: expect.stringMatching(/CAP_NET_ADMIN.*Operation not permitted/) as string });
  });
});

describe("a failure", () => {
  const { table } = new Planner(planOptions).plan(makeObjects([makeService()], [makeSlice([makeEndpoint("10.0.0.1")])]), "all").IPv4;

  it("is an outcome with nft's words, and the next time the table is read", async () => {
    const asked: string[] = [];
    const broken = { isBroken: true };
    const run = (script: string): void =>
      broken.isBroken && script.includes("element") ? raise(new NftError("nft ended with 1: busy")) : undefined;
    const nft = fakeNft({ run, list: (args) => asked.push(args.join(" ")) });
    const dataplane = createNftablesDataplane({ nft, families: ["IPv4"], masqueradeBit: 14 });
    expect(await dataplane.apply(table)).toEqual({ type: "failed", message: "nft ended with 1: busy" });
    broken.isBroken = false;
    asked.length = 0;
    expect(await dataplane.apply(table)).toMatchObject({ type: "applied" });
    expect(asked).toEqual(["list table ip sallyport"]);
    asked.length = 0;
    expect(await dataplane.apply(table)).toEqual({ type: "applied", changes: 0 });
    expect(asked).toEqual([]);
  });

  it("of a family that the node does not have is one too", async () => {
    const dataplane = createNftablesDataplane({ nft: fakeNft({}), families: ["IPv6"], masqueradeBit: 14 });
    expect(await dataplane.apply(table)).toEqual({ type: "failed", message: "this node has no IPv4" });
  });

  it("never touches another table", async () => {
    const scripts: string[] = [];
    const dataplane = createNftablesDataplane({
      nft: fakeNft({ run: (script) => scripts.push(script) }),
      families: ["IPv4", "IPv6"],
      masqueradeBit: 14,
    });
    await dataplane.apply(table);
    await dataplane.cleanup();
    const commands = scripts
      .join("\n")
      .split("\n")
      .filter((line) => line !== "");
    expect(commands.filter((line) => !/^(add|delete|flush) [a-z]+ (ip|ip6) sallyport( |$)/.test(line))).toEqual([]);
  });
});

interface FakeNft {
  readonly version?: string;
  readonly run?: (script: string) => unknown;
  readonly check?: (script: string) => unknown;
  readonly list?: (args: readonly string[]) => unknown;
}

/** An nft whose tables are always empty. */
function fakeNft({ version = "", run, check, list }: FakeNft): Nft {
  return {
    run: async (script) => void run?.(script),
    check: async (script) => void check?.(script),
    list: async (args) => {
      list?.(args);
      return '{"nftables": []}';
    },
    version: async () => version,
  };
}

function raise(error: Error): never {
  throw error;
}
