import { describe, expect, it } from "vitest";
import { ConfigurationFile, configurationLookMs } from "#agent/service-proxy/configuration-file.ts";
import { parseKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { ObservedClock } from "../observed-clock.ts";

const head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
const started = `${head}mode: nftables\n`;

/** A role that runs with `started`, whose file is then what the test says. */
function startFile() {
  const parsed = parseKubeProxyConfiguration(started, "config.conf");
  if (parsed.type === "invalid") throw new Error("the first file is right");
  const clock = new ObservedClock();
  const problems: (string | undefined)[] = [];
  const file = { text: started as string | Error, changes: 0 };
  const watched = new ConfigurationFile({
    path: "/etc/config.conf",
    running: parsed.configuration,
    read: async () => {
      if (file.text instanceof Error) throw file.text;
      return file.text;
    },
    clock,
    onChange: () => (file.changes += 1),
    onProblem: (what) => problems.push(what),
  });
  watched.start();
  const look = async (times = 1) => {
    for (let left = times; left > 0; left -= 1) {
      clock.advance(configurationLookMs);
      await clock.whenWaiting();
    }
  };
  return { watched, file, clock, problems, look };
}

describe("the configuration file of a role that runs", () => {
  it("ends it when it says something else, and has come to rest", async () => {
    const { watched, file, look } = startFile();
    await look(3);
    file.text = `${started}clusterCIDR: 10.4.0.0/16\n`;
    await look();
    expect(file.changes).toBe(0);
    await look(5);
    expect(file.changes).toBe(1);
    watched.stop();
  });

  it.each([
    ["a comment", `# of last week\n${started}`],
    ["a default that is written out", `${started}bindAddressHardFail: false\n`],
    ["the same as JSON", '{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration","mode":"nftables"}'],
  ])("ends nobody for %s", async (_what, text) => {
    const { watched, file, problems, look } = startFile();
    file.text = text;
    await look(3);
    expect([file.changes, problems]).toEqual([0, []]);
    watched.stop();
  });

  it("ends nobody when it has a mistake, and says so once, with its line, until it is mended", async () => {
    const { watched, file, problems, look } = startFile();
    file.text = `${started}clusterCIDRs: 10.4.0.0/16\n`;
    await look(5);
    expect([file.changes, problems]).toEqual([
      0,
      [expect.stringMatching(/^the configuration file \/etc\/config\.conf has changed, and what it was before stays in force: line 4: /)],
    ]);
    expect(watched.problem).toBe(problems[0]);
    file.text = started;
    await look(2);
    expect([problems.length, problems[1], watched.problem, file.changes]).toEqual([2, undefined, undefined, 0]);
    watched.stop();
  });

  it("ends nobody while it is half written", async () => {
    const { watched, file, problems, look } = startFile();
    for (let length = 1; length < started.length; length += 9) {
      file.text = started.slice(0, length);
      await look();
    }
    file.text = started;
    await look(2);
    expect([file.changes, problems]).toEqual([0, []]);
    watched.stop();
  });

  it("ends nobody when it is gone, and does when it comes back different", async () => {
    const { watched, file, problems, look } = startFile();
    file.text = new Error("ENOENT");
    await look(3);
    expect([file.changes, problems]).toEqual([0, [expect.stringContaining("ENOENT")]]);
    file.text = `${head}mode: iptables\n`;
    await look(2);
    expect(file.changes).toBe(1);
    watched.stop();
  });

  it("is left alone after a stop", () => {
    const { watched, clock } = startFile();
    watched.stop();
    expect(clock.waiting).toBe(0);
  });
});
