/** Clients in other languages than kubectl's: the official Python client, and the sallyport command with its credential plugin. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { trustAuthorities } from "#cli/session/network-trust.ts";
import { signIn } from "#cli/demo/sign-in.ts";
import { audienceOf, clusterName, namespace, serverUrl, toolbox } from "#test/cluster/fixture/names.ts";
import { ann, lee, prefix } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { startPythonClient } from "#test/cluster/harness/python.ts";
import { kubectlPath } from "#test/cluster/harness/tools.ts";

/** Registers the tests. */
export function programTests(system: () => GatewaySystem): void {
  test("the Python client lists, watches and runs commands", async () => {
    const { cluster } = system();
    const kubeconfig = await system().kubeconfig({ person: lee, entrance: "address" });
    const list = await startPythonClient(kubeconfig, ["list", namespace]);
    const [listed] = await list.take(1);
    expect(listed?.names).toContain("kube-root-ca.crt");
    const watch = await startPythonClient(kubeconfig, ["watch", namespace, "2"]);
    await watch.waitFor(({ listed: version }) => version !== undefined);
    await cluster.admin(["-n", namespace, "create", "configmap", "python-saw"]);
    await cluster.admin(["-n", namespace, "delete", "configmap", "python-saw"]);
    await watch.take(3);
    expect(watch.lines.slice(1)).toMatchObject([
      { type: "ADDED", name: "python-saw" },
      { type: "DELETED", name: "python-saw" },
    ]);
    const script = "read l; echo $l; echo no >&2; exit 3";
    const exec = await startPythonClient(kubeconfig, ["exec", namespace, toolbox, "hello", "sh", "-c", script]);
    expect(await exec.take(1)).toEqual([{ stdout: "hello\n", stderr: "no\n", code: 3 }]);
  });

  test("somebody signs in at the company's issuer, and kubectl works with the credential plugin", async () => {
    const { provider, folder, hostsFile, authorityPem, cluster, onStart } = system();
    await trustAuthorities(authorityPem);
    const token = await signIn(provider.url, audienceOf(clusterName), ann.name);
    const sallyport = await system().sallyport(ann, audienceOf(clusterName));
    // A session instead of a token in the environment.
    const signedIn = sallyport.with({ SALLYPORT_TOKEN: "" });
    await signedIn.must(["login", "--cluster", clusterName, "--token", "-"], { stdin: token });
    await signedIn.must(["kubeconfig", "--cluster", clusterName, "--file", sallyport.kubeconfig]);
    const bin = path.join(folder, "bin");
    mkdirSync(bin, { recursive: true });
    for (const name of ["sallyport", "sallyport-credential"]) {
      writeFileSync(path.join(bin, name), `#!/bin/sh\nexec ${process.execPath} ${path.resolve(`dist/${name}.js`)} "$@"\n`);
      chmodSync(path.join(bin, name), 0o755);
    }
    const kubectl = new ToolRunner({
      command: [await kubectlPath("1.35")],
      kubeconfig: sallyport.kubeconfig,
      hostsFile,
      onStart,
      env: { PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    });
    const whoami = await kubectl.must(["auth", "whoami", "--output=json"]);
    expect(JSON.parse(whoami)).toMatchObject({
      status: { userInfo: { username: `${prefix}ann`, groups: [`${prefix}operators`, "system:authenticated"] } },
    });
    expect(await kubectl.must(["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"])).toBe(
      serverUrl(clusterName, "host", cluster.hostAddress),
    );
    expect(await kubectl.must(["get", "nodes", "--output=name"])).toBe(await cluster.admin(["get", "nodes", "--output=name"]));
  });
}
