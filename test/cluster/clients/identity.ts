/** Who the apiserver sees: the same user as with the token itself, on every kind of request, and in its audit log. */
import { beforeAll, describe, expect, test } from "vitest";

import type { HttpQuestion } from "#test/cluster/fixture/http-client.ts";
import { audienceOf, clusterName, namespace, toolbox } from "#test/cluster/fixture/names.ts";
import { ann, lee, mia, type Person, prefix, yuki } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import { waitUntil } from "#test/cluster/harness/command.ts";

const review: HttpQuestion = {
  method: "POST",
  path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
};
/** The apiserver writes its log behind the answers. */
const auditMs = 10_000;

interface UserInfo {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** An Event of audit.k8s.io/v1, as far as the tests look. */
interface AuditEvent {
  readonly auditID: string;
  readonly stage: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: UserInfo;
  readonly impersonatedUser?: UserInfo;
}

/** Registers the tests. */
export function identityTests(system: () => GatewaySystem): void {
  const whoAmI = async (place: "ask" | "askDirectly", person: Person, token: string): Promise<UserInfo> => {
    const answer = await system()[place](person, { ...review, token });
    expect(answer.status).toBe(201);
    return (JSON.parse(answer.text) as { status: { userInfo: UserInfo } }).status.userInfo; // a SelfSubjectReview
  };
  const auditOf = async (find: (event: AuditEvent) => boolean): Promise<AuditEvent> => {
    let found: AuditEvent | undefined;
    await waitUntil("the event in an apiserver's audit log", auditMs, async () => {
      found = system()
        .cluster.apiservers.flatMap(({ name }) => auditEvents(system().cluster.logOf(name)))
        .find((event) => find(event));
      return found !== undefined;
    });
    if (found === undefined) throw new Error("waitUntil said that it was found");
    return found;
  };

  describe.each([
    ["an operator", ann],
    ["a developer", lee],
    ["a user in 50 groups", mia],
    ["a user whose name is beyond ASCII", yuki],
  ])("%s", (_who, person) => {
    let token: string;
    beforeAll(async () => {
      const claims = { jti: `token-of-${person.groups.length}`, department: "blue 🌊 ünits" };
      token = await system().provider.token(person, { audience: audienceOf(clusterName), claims });
    });

    test("is the same to the apiserver through the gateway as with the token itself", async () => {
      const [here, there] = [await whoAmI("ask", person, token), await whoAmI("askDirectly", person, token)];
      expect(here).toEqual(there);
      expect(here).toMatchObject({
        username: prefix + person.name,
        uid: person.name,
        extra: { "example.com/department": ["blue 🌊 ünits"] },
      });
      expect(here.groups).toEqual([...person.groups.map((group) => prefix + group), "system:authenticated"]);
    });
  });

  test("the last of 50 groups counts, on a plain request and on a stream", async () => {
    const kubectl = await system().kubectl("1.35", { person: mia });
    expect(await kubectl.must(["get", "configmap", "kube-root-ca.crt", "--output=name"])).toBe("configmap/kube-root-ca.crt\n");
    const exec = await kubectl.run(["exec", toolbox, "--", "true"]);
    expect(exec.code).toBe(1);
    expect(exec.stderr).toContain(`User "${prefix}mia" cannot create resource "pods/exec"`);
  });

  test("a name beyond ASCII reaches the apiserver's log whole, on a plain request and on exec", async () => {
    const kubectl = await system().kubectl("1.35", { person: yuki, entrance: "host" });
    await kubectl.must(["get", "configmaps"]);
    expect(await kubectl.must(["exec", toolbox, "--", "echo", "from afar"])).toBe("from afar\n");
    for (const part of ["/configmaps", `/pods/${toolbox}/exec`]) {
      const event = await auditOf(({ requestURI, impersonatedUser }) => requestURI.includes(part) && impersonatedUser?.uid === yuki.name);
      expect(event.impersonatedUser?.username).toBe(prefix + yuki.name);
    }
  });

  test("the apiserver's audit log names agent and user, under the Audit-ID of the answer and of our own logs", async () => {
    const answer = await system().ask(lee, {
      path: `/api/v1/namespaces/${namespace}/configmaps?limit=3`,
      headers: { "audit-id": "forged" },
    });
    const id = String(answer.headers["audit-id"]);
    expect(id).not.toBe("forged");
    const event = await auditOf(({ auditID, stage }) => auditID === id && stage === "ResponseComplete");
    expect(event).toMatchObject({
      verb: "list",
      user: { username: "system:serviceaccount:sallyport-system:sallyport-agent" },
      impersonatedUser: { username: `${prefix}lee`, groups: [`${prefix}developers`, "system:authenticated"] },
    });
    const agents = await system().cluster.admin([
      "-n",
      "sallyport-system",
      "logs",
      "-l",
      "app.kubernetes.io/name=sallyport-agent",
      "--tail=-1",
    ]);
    for (const lines of [agents, system().gateway.lines.join("\n")])
      expect(lines).toMatch(new RegExp(`"auditID":"${id}".*"username":"${prefix}lee"`));
  });

  test("an agent's own header, a forged identity and a second user reach nobody", async () => {
    const forged: readonly Readonly<Record<string, string>>[] = [
      { "impersonate-user": "system:admin", "impersonate-group": "system:masters" },
      { "impersonate-user": `${prefix}ann` },
      { "Impersonate-Group": "system:masters" },
      { "impersonate-uid": "1" },
      { "impersonate-extra-scopes": "all" },
      { "x-remote-user": "admin", "x-remote-group": "system:masters" },
    ];
    const token = await system().provider.token(lee, { audience: audienceOf(clusterName) });
    for (const headers of forged) {
      const answer = await system().ask(lee, { ...review, token, headers: { ...review.headers, ...headers } });
      const user =
        answer.status === 201 ? (JSON.parse(answer.text) as { status: { userInfo: UserInfo } }).status.userInfo.username : "nobody";
      expect([`${prefix}lee`, "nobody"], JSON.stringify(headers)).toContain(user);
      expect(answer.text).not.toContain('system:masters"');
    }
  });

  test.each<readonly [string, Readonly<Record<string, unknown>>, number]>([
    ["no name", { sub: "" }, 401],
    ["a name that is no text", { sub: 7 }, 401],
    ["a token that has expired", { exp: 1 }, 401],
    ["a token for something else", { aud: "sallyport-three" }, 401],
    ["a token of another issuer", { iss: "https://login.example.com" }, 401],
  ])("%s lets nobody in", async (_what, claims, status) => {
    const token = await system().provider.token(lee, { audience: audienceOf(clusterName), claims });
    const answer = await system().ask(lee, { path: "/version", token });
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toMatchObject({ kind: "Status", status: "Failure", code: status });
  });
}

function auditEvents(log: string): readonly AuditEvent[] {
  return log
    .split("\n")
    .filter((line) => line.startsWith('{"kind":"Event","apiVersion":"audit.k8s.io'))
    .map((line) => JSON.parse(line) as AuditEvent); // the apiserver's own lines
}
