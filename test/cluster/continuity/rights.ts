/**
 * The agent's rights in the cluster: those that are shipped suffice, which the other tests show; here each is taken away in turn, and
 * what needs it fails with a sentence that names it. With rights that it does not need, the agent does not start.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { audienceOf, clusterName, namespace, toolbox } from "#test/cluster/fixture/names.ts";
import { lee } from "#test/cluster/fixture/people.ts";
import { type GatewaySystem, waitForAgents } from "#test/cluster/fixture/system.ts";
import { waitUntil } from "#test/cluster/harness/command.ts";

const agentNamespace = "sallyport-system";
const agentLabel = "app.kubernetes.io/name=sallyport-agent";
const noticedMs = 30_000;

interface Role {
  readonly kind: "clusterrole" | "role";
  readonly namespace: string;
  readonly name: string;
}

interface Rule {
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const impersonator: Role = { kind: "clusterrole", namespace: "", name: "sallyport-agent-impersonator" };
const forwarder: Role = { kind: "clusterrole", namespace: "", name: "sallyport-agent-forwards" };
const keyKeeper: Role = { kind: "role", namespace: agentNamespace, name: "sallyport-agent-key" };
const apiserverReader: Role = { kind: "role", namespace: "default", name: "sallyport-agent-apiservers" };

/** What a user asks, and what they are told while the right to `resource` is missing. */
interface LostRight {
  readonly resource: string;
  readonly args: readonly string[];
  readonly told: string;
}

/** Without discovery before it, whose failures kubectl tells without their reason. */
const raw = ["get", "--raw", `/api/v1/namespaces/${namespace}/pods`] as const;

const lostRights: readonly LostRight[] = [
  { resource: "users", args: raw, told: 'cannot impersonate resource "users"' },
  { resource: "groups", args: raw, told: 'cannot impersonate resource "groups"' },
  { resource: "uids", args: raw, told: 'cannot impersonate resource "uids"' },
  {
    resource: "userextras/example.com/department",
    args: raw,
    told: 'cannot impersonate resource "userextras/example.com/department"',
  },
  {
    resource: "userextras/sallyport.dev/original-user",
    args: [...raw, "--as=deploy-bot"],
    told: 'cannot impersonate resource "userextras/sallyport.dev/original-user"',
  },
  // A command of its own each time: what was allowed is remembered for a while.
  {
    resource: "subjectaccessreviews",
    args: ["auth", "whoami", "--as=deploy-bot", "--as-uid=7"],
    told: "the apiserver refused the agent's SubjectAccessReview with 403 Forbidden",
  },
];

/** Registers the tests; they come last, because they break things. */
export function rightsTests(system: () => GatewaySystem): void {
  describe.each(lostRights)("without the right to $resource", ({ resource, args, told }) => {
    let restore: () => Promise<void>;
    beforeAll(async () => {
      restore = await takeAway(system(), impersonator, resource);
    });
    afterAll(async () => {
      await restore();
      const kubectl = await system().kubectl("1.35", { person: lee });
      await waitUntil("it works again", noticedMs, async () => (await kubectl.run(raw)).code === 0);
    });

    test("a user is told which right the agent lacks", async () => {
      const kubectl = await system().kubectl("1.35", { person: lee });
      let said = "";
      await waitUntil(`${args.join(" ")} is refused`, noticedMs, async () => {
        const result = await kubectl.run(args);
        said = result.stderr;
        return result.code !== 0;
      });
      expect(said).toContain(told);
    });
  });

  test("without the right to impersonate the token's number, a user whose token has one is told", async () => {
    const restore = await takeAway(system(), impersonator, "userextras/authentication.kubernetes.io/credential-id");
    try {
      const token = await system().provider.token(lee, { audience: audienceOf(clusterName), claims: { jti: "numbered" } });
      let said = "";
      await waitUntil("the request is refused", noticedMs, async () => {
        const answer = await system().ask(lee, { path: `/api/v1/namespaces/${namespace}/pods`, token });
        said = answer.text;
        return answer.status === 403;
      });
      expect(said).toContain("userextras/authentication.kubernetes.io/credential-id");
    } finally {
      await restore();
    }
  });

  test("without the right to list the apiservers, the agent says so in its log", async () => {
    // Forwards need it everywhere, which is enough for the apiservers too.
    const restoreForwards = await takeAway(system(), forwarder, "endpointslices");
    const restore = await takeAway(system(), apiserverReader, "endpointslices");
    try {
      await waitUntil("the agent's log names the right", noticedMs, async () => (await agentLog(system())).includes("endpointslices"));
    } finally {
      await restore();
      await restoreForwards();
    }
  });

  test("without the right to read pods, a forward is refused with that reason, and all else works", async () => {
    const restore = await takeAway(system(), forwarder, "pods");
    try {
      const target = `/apis/forward.sallyport.dev/v1/namespaces/${namespace}/pods/${toolbox}/tcp?port=8080`;
      let said = "";
      await waitUntil("the forward is refused", noticedMs, async () => {
        const answer = await system().ask(lee, { path: target });
        said = answer.text;
        return answer.status === 503;
      });
      expect(said).toContain("the apiserver refused the agent to read pods with 403");
      expect((await (await system().kubectl("1.35", { person: lee })).run(raw)).code).toBe(0);
    } finally {
      await restore();
    }
  });

  test("without the right to its key, a new replica does not start and says why; the others serve on", async () => {
    const restore = await takeAway(system(), keyKeeper, "secrets");
    try {
      expect(await lastWordsOfNewReplica(system())).toContain(`the agent may not read the Secret ${agentNamespace}/sallyport-agent-key`);
      expect((await (await system().kubectl("1.35", { person: lee })).run(["exec", toolbox, "--", "true"])).code).toBe(0);
    } finally {
      await restore();
      await restartFailed(system());
    }
  });

  test("with a right that it does not need, a new replica does not start and names it", async () => {
    const binding = ["clusterrolebinding", "too-much"];
    await system().cluster.admin(["create", ...binding, "--clusterrole=view", `--serviceaccount=${agentNamespace}:sallyport-agent`]);
    try {
      const said = await lastWordsOfNewReplica(system());
      expect(said).toContain("may do more than it needs");
      expect(said).toMatch(/: get \S+; .*; and \d+ more/);
    } finally {
      await system().cluster.admin(["delete", ...binding]);
      await restartFailed(system());
    }
  });
}

/** Removes one resource from a role's rules; the answer puts it back. */
async function takeAway(system: GatewaySystem, role: Role, resource: string): Promise<() => Promise<void>> {
  const place = role.namespace === "" ? [] : ["-n", role.namespace];
  const text = await system.cluster.admin([...place, "get", role.kind, role.name, "-o", "json"]);
  const { rules } = JSON.parse(text) as { readonly rules: readonly Rule[] }; // a Role of rbac.authorization.k8s.io/v1
  const left = rules
    .map((rule) => ({ ...rule, resources: rule.resources.filter((name) => name !== resource) }))
    .filter((rule) => rule.resources.length > 0);
  expect(left, `${role.name} has a rule for ${resource}`).not.toEqual(rules);
  const write = async (wanted: readonly Rule[]): Promise<void> => {
    const patch = JSON.stringify({ rules: wanted });
    await system.cluster.admin([...place, "patch", role.kind, role.name, "--type=merge", `--patch=${patch}`]);
  };
  await write(left);
  return () => write(rules);
}

/** Lets one replica be replaced, and waits until the new one has ended; returns what it said. */
async function lastWordsOfNewReplica(system: GatewaySystem): Promise<string> {
  const [first = ""] = await podNames(system);
  await system.cluster.admin(["-n", agentNamespace, "delete", "pod", first, "--grace-period=0", "--force"]);
  let failed: string | undefined;
  await waitUntil("a new replica ends", noticedMs, async () => {
    const names = await system.cluster.admin(["-n", agentNamespace, "get", "pods", "-l", agentLabel, "-o", `jsonpath=${restarts}`]);
    failed = /^(\S+) [1-9]/m.exec(names)?.[1];
    return failed !== undefined;
  });
  const said = "{.status.containerStatuses[0].lastState.terminated.message}";
  return system.cluster.admin(["-n", agentNamespace, "get", "pod", failed ?? "", "-o", `jsonpath=${said}`]);
}

/** Replaces what has failed, instead of waiting for the kubelet to try it again. */
async function restartFailed(system: GatewaySystem): Promise<void> {
  const names = await system.cluster.admin(["-n", agentNamespace, "get", "pods", "-l", agentLabel, "-o", `jsonpath=${restarts}`]);
  for (const [, name = ""] of names.matchAll(/^(\S+) [1-9]/gm))
    await system.cluster.admin(["-n", agentNamespace, "delete", "pod", name, "--grace-period=0", "--force"]);
  await waitForAgents(system);
}

const restarts = '{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';

async function podNames(system: GatewaySystem): Promise<readonly string[]> {
  const names = await system.cluster.admin([
    "-n",
    agentNamespace,
    "get",
    "pods",
    "-l",
    agentLabel,
    "-o",
    "jsonpath={.items[*].metadata.name}",
  ]);
  return names.trim().split(" ");
}

async function agentLog(system: GatewaySystem): Promise<string> {
  return system.cluster.admin(["-n", agentNamespace, "logs", "-l", agentLabel, "--tail=-1"]);
}
