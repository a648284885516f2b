/** helm through the gateway: it is another Go client, with its own caches, large Secrets and waits. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { namespace, toolImage } from "#test/cluster/fixture/names.ts";
import { lee } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";

/** Registers the tests. */
export function helmTests(system: () => GatewaySystem): void {
  test("helm installs, upgrades, lists and uninstalls a chart", async () => {
    const helm = await system().helm({ person: lee, entrance: "host" });
    const chart = writeChart(path.join(path.dirname(helm.kubeconfig), "chart"));
    const inCluster = (): Promise<string> =>
      system().cluster.admin([
        "-n",
        namespace,
        "get",
        "deployment,configmap",
        "-l",
        "chart=small",
        "-o",
        "jsonpath={.items[*].data.color}",
      ]);
    await helm.must(["install", "first", chart, "--set", "color=blue", "--wait", "--timeout", "60s"]);
    expect(await inCluster()).toBe("blue");
    await helm.must(["upgrade", "first", chart, "--set", "color=red", "--wait", "--timeout", "60s"]);
    expect(await inCluster()).toBe("red");
    const listed = await helm.must(["list", "--output", "json"]);
    expect(JSON.parse(listed)).toMatchObject([{ name: "first", namespace, revision: "2", status: "deployed", chart: "small-1.0.0" }]);
    await helm.must(["uninstall", "first", "--wait", "--timeout", "60s"]);
    expect(await inCluster()).toBe("");
    expect(JSON.parse(await helm.must(["list", "--output", "json"]))).toEqual([]);
  });
}

function writeChart(folder: string): string {
  mkdirSync(path.join(folder, "templates"), { recursive: true });
  writeFileSync(path.join(folder, "Chart.yaml"), "apiVersion: v2\nname: small\nversion: 1.0.0\n");
  writeFileSync(path.join(folder, "values.yaml"), "color: none\n");
  const template = `apiVersion: v1
kind: ConfigMap
metadata: { name: "{{ .Release.Name }}-color", labels: { chart: small } }
data: { color: "{{ .Values.color }}" }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: "{{ .Release.Name }}-program", labels: { chart: small } }
spec:
  selector: { matchLabels: { app: small } }
  template:
    metadata: { labels: { app: small, color: "{{ .Values.color }}" } }
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{ name: main, image: "${toolImage}", args: [pause] }]
`;
  writeFileSync(path.join(folder, "templates", "objects.yaml"), template);
  return folder;
}
