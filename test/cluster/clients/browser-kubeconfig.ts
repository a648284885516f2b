/** A kubeconfig from the gateway's page, in stock kubectl's hands: who it is, what it opens, and how it ends. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

import { clusterName, gatewayHost, gatewayUrl, namespace, toolbox } from "#test/cluster/fixture/names.ts";
import { lee, type Person, prefix } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { kubectlPath } from "#test/cluster/harness/tools.ts";
import { Browser, formOf } from "#test/support/browser.ts";

interface Downloaded {
  readonly browser: Browser;
  readonly kubectl: ToolRunner;
}

/** Registers the tests. */
export function browserKubeconfigTests(system: () => GatewaySystem): void {
  const download = async (person: Person): Promise<Downloaded> => {
    const { authorityPem, cluster, folder, hostsFile, onStart } = system();
    const browser = new Browser(authorityPem, { [gatewayHost]: cluster.hostAddress });
    const choice = formOf(await browser.visit(`${gatewayUrl}/sign-in?cluster=${clusterName}`), /name="cluster"/);
    const home = await browser.follow(await browser.visit(choice.action, { form: choice.fields }), person.name);
    const { action, fields } = formOf(home, /action="\/kubeconfigs"/);
    const file = await browser.visit(action, { form: fields });
    expect(file.status).toBe(200);
    const place = path.join(folder, `browser-${person.name}`);
    mkdirSync(place, { recursive: true });
    const kubeconfig = path.join(place, "kubeconfig");
    writeFileSync(kubeconfig, file.text);
    return { browser, kubectl: new ToolRunner({ command: [await kubectlPath("1.35")], kubeconfig, hostsFile, onStart }) };
  };

  test("makes kubectl the person that the company's own token makes it, with the same rights", async () => {
    const { kubectl } = await download(lee);
    const own = await system().kubectl("1.35", { person: lee });
    const whoAmI = async (tool: ToolRunner): Promise<Readonly<Record<string, unknown>>> => {
      const review = JSON.parse(await tool.must(["auth", "whoami", "-o", "json"]));
      const { username, uid, groups } = review.status.userInfo; // a SelfSubjectReview
      return { username, uid, groups };
    };
    expect(await whoAmI(kubectl)).toEqual(await whoAmI(own));
    expect(await whoAmI(kubectl)).toMatchObject({ username: prefix + lee.name, uid: lee.name });
    expect(await kubectl.must(["-n", namespace, "exec", toolbox, "--", "echo", "hello"])).toBe("hello\n");
    const [here, there] = [await kubectl.run(["get", "nodes"]), await own.run(["get", "nodes"])];
    expect([here.code, here.stderr]).toEqual([there.code, there.stderr]);
    expect(here.stderr).toContain("Forbidden");
  });

  test("ends when it is revoked: the watch that runs, and every command after it", async () => {
    const { browser, kubectl } = await download(lee);
    const watch = kubectl.start(["-n", namespace, "get", "pod", toolbox, "--watch", "--no-headers"]);
    await watch.waitFor((line) => line.includes(toolbox));
    const { action, fields } = formOf(await browser.visit(`${gatewayUrl}/kubeconfigs`), /revoke/);
    expect((await browser.visit(action, { form: fields })).status).toBe(303);
    await watch.finish();
    const refused = await kubectl.run(["-n", namespace, "get", "pods"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("the token was revoked")]);
  });
}
