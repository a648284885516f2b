/**
 * What people do with kubectl all day, in the versions that they have, through the gateway. The measure is always the same program with
 * the same token directly at an apiserver, or the cluster's own state: never what the gateway says of itself.
 */
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";

import { beforeAll, describe, expect, test } from "vitest";

import { type Entrance, namespace, toolbox, toolImage } from "#test/cluster/fixture/names.ts";
import { lee, prefix } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import type { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { type KubectlVersion, kubectlVersions } from "#test/cluster/harness/tools.ts";

/** Both ways to name a cluster, each with an old and a new kubectl. */
export const entrances: Readonly<Record<KubectlVersion, Entrance>> = { "1.30": "host", "1.32": "path", "1.34": "host", "1.35": "path" };

const mebibyte = 1 << 20;

/** Registers the tests. */
export function everydayTests(system: () => GatewaySystem): void {
  describe.each(kubectlVersions)("kubectl %s", (version) => {
    const suffix = version.replace(".", "-");
    let kubectl: ToolRunner;
    let direct: ToolRunner;

    beforeAll(async () => {
      kubectl = await system().kubectl(version, { person: lee, entrance: entrances[version] });
      direct = await system().directKubectl(version, lee);
    });

    test.each([
      ["a table", ["get", "pods", toolbox, "--output=wide"]],
      ["YAML", ["get", "pod", toolbox, "--output=yaml"]],
      ["a description", ["describe", "pod", toolbox]],
      ["the events", ["events", `--for=pod/${toolbox}`]],
      ["the kinds", ["api-resources", "--sort-by=name"]],
      ["an explanation", ["explain", "deployment.spec.strategy"]],
      ["who one is", ["auth", "whoami", "--output=jsonpath={.status.userInfo}"]],
      ["what one may", ["auth", "can-i", "--list"]],
    ])("shows %s as a kubectl at the apiserver does", async (_what, args) => {
      const [here, there] = await Promise.all([kubectl.must(args), direct.must(args)]);
      expect(withoutAges(here)).toBe(withoutAges(there));
      expect(here).not.toBe("");
    });

    test("asks what one may, and is told with an exit code", async () => {
      expect(await kubectl.run(["auth", "can-i", "create", "pods/exec"])).toMatchObject({ code: 0, stdout: "yes\n" });
      expect(await kubectl.run(["auth", "can-i", "delete", "nodes"])).toMatchObject({ code: 1, stdout: "no\n" });
      const forbidden = await kubectl.run(["get", "secrets", "--namespace=kube-system"]);
      expect(forbidden.code).toBe(1);
      expect(forbidden.stderr).toContain(
        `User "${prefix}lee" cannot list resource "secrets" in API group "" in the namespace "kube-system"`,
      );
    });

    test("acts as another where RBAC lets it, and is refused where not", async () => {
      const asBot = await kubectl.must(["auth", "whoami", "--as=deploy-bot", "--output=json"]);
      expect(JSON.parse(asBot)).toMatchObject({
        status: {
          userInfo: {
            username: "deploy-bot",
            groups: ["system:authenticated"],
            extra: { "sallyport.dev/original-user": [`${prefix}lee`] },
          },
        },
      });
      expect(await kubectl.run(["auth", "can-i", "delete", "pods", "--as=deploy-bot"])).toMatchObject({ code: 1, stdout: "no\n" });
      const refused = await kubectl.run(["get", "pods", "--as=oidc:ann"]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain("Forbidden");
      const masters = await kubectl.run(["get", "pods", "--as=deploy-bot", "--as-group=system:masters"]);
      expect(masters.code).toBe(1);
      expect(masters.stderr).toContain("may not impersonate groups system:masters");
    });

    test("watches: every event comes as it happens", async () => {
      const name = `watched-${suffix}`;
      const watch = kubectl.start(["get", "configmaps", "--watch", "--output-watch-events"]);
      await watch.waitFor((line) => line.includes("kube-root-ca.crt"));
      await direct.must(["create", "configmap", name]);
      await watch.waitFor((line) => line.startsWith("ADDED") && line.includes(name));
      await direct.must(["label", "configmap", name, "seen=yes"]);
      await watch.waitFor((line) => line.startsWith("MODIFIED") && line.includes(name));
      await direct.must(["delete", "configmap", name]);
      await watch.waitFor((line) => line.startsWith("DELETED") && line.includes(name));
      await watch.stop();
    });

    test("applies on the client's side, follows the rollout and deletes", async () => {
      const stdin = renderDeployment(`client-${suffix}`);
      expect(await kubectl.must(["apply", "-f", "-"], { stdin })).toBe(`deployment.apps/client-${suffix} created\n`);
      expect(await kubectl.must(["apply", "-f", "-"], { stdin })).toBe(`deployment.apps/client-${suffix} unchanged\n`);
      expect(await kubectl.must(["rollout", "status", `deployment/client-${suffix}`, "--timeout=60s"])).toContain(
        "successfully rolled out",
      );
      await kubectl.must(["delete", "deployment", `client-${suffix}`]);
      expect((await direct.run(["get", "deployment", `client-${suffix}`])).stderr).toContain("NotFound");
    });

    test("applies on the server's side, and hears of conflicts", async () => {
      const name = `server-${suffix}`;
      const object = (color: string): string =>
        JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { color } });
      const apply = ["apply", "--server-side", "-f", "-"];
      expect(await kubectl.must(apply, { stdin: object("blue") })).toBe(`configmap/${name} serverside-applied\n`);
      const conflict = await kubectl.run([...apply, "--field-manager=other"], { stdin: object("red") });
      expect(conflict.code).toBe(1);
      expect(conflict.stderr).toContain('conflict with "kubectl"');
      expect(await direct.must(["get", "configmap", name, "--output=jsonpath={.data.color}"])).toBe("blue");
    });

    test("writes and reads a ConfigMap of 1 MiB", async () => {
      const name = `large-${suffix}`;
      const text = randomBytes(mebibyte / 2).toString("hex");
      const file = path.join(path.dirname(kubectl.kubeconfig), "large");
      writeFileSync(file, text);
      await kubectl.must(["create", "configmap", name, `--from-file=data=${file}`]);
      const read = ["get", "configmap", name, "--output=jsonpath={.data.data}"];
      expect(digest(await kubectl.must(read))).toBe(digest(text));
      expect(digest(await direct.must(read))).toBe(digest(text));
      await kubectl.must(["delete", "configmap", name]);
    });

    test("follows a log, and sees a finished one to its end", async () => {
      const word = `logged-${suffix}`;
      const write = (line: string): Promise<string> => direct.must(["exec", toolbox, "--", "sh", "-c", `echo ${line} > /proc/1/fd/1`]);
      await write(`${word}-before`);
      const log = kubectl.start(["logs", "--follow", toolbox]);
      await log.waitFor((line) => line === `${word}-before`);
      await write(`${word}-after`);
      await log.waitFor((line) => line === `${word}-after`);
      await log.stop();
      await kubectl.must(["run", word, `--image=${toolImage}`, "--restart=Never", "--command", "--", "sh", "-c", "seq 5000; echo over"]);
      await kubectl.must(["wait", "--for=jsonpath={.status.phase}=Succeeded", `pod/${word}`, "--timeout=60s"]);
      const whole = await kubectl.must(["logs", "--follow", word]);
      expect(whole.trim().split("\n")).toEqual([...Array.from({ length: 5000 }, (_, index) => String(index + 1)), "over"]);
      await kubectl.must(["delete", "pod", word]);
    });
  });

  test("kubectl before 1.33, which drops a server's path in get --raw, is told so", async () => {
    const raw = ["get", "--raw", `/api/v1/namespaces/${namespace}`];
    const atPath = await (await system().kubectl("1.32", { person: lee, entrance: "path" })).run(raw);
    expect(atPath.code).toBe(1);
    expect(atPath.stderr).toContain("/k/");
    for (const version of ["1.30", "1.34", "1.35"] as const) {
      const kubectl = await system().kubectl(version, { person: lee, entrance: entrances[version] });
      expect(JSON.parse(await kubectl.must(raw))).toMatchObject({ kind: "Namespace", metadata: { name: namespace } });
    }
  });
}

/** Ages grow between two questions. */
function withoutAges(text: string): string {
  return text.replaceAll(/\b(?:\d+d)?(?:\d+h)?(?:\d+m)?\d+s\b|\b\d+[dhm]\b/g, "AGE").replaceAll(/ +/g, " ");
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function renderDeployment(name: string): string {
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: "main", image: toolImage, args: ["pause"] }], terminationGracePeriodSeconds: 0 },
      },
    },
  });
}
