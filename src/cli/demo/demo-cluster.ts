/**
 * The demo's cluster, in two kinds behind one interface: the embedded sandbox, or the cluster of a kubeconfig. What the demo adds to a
 * cluster (two role bindings) it takes away again.
 */
import { createSign, generateKeyPairSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { dana, demoPrefix, lee } from "./people.ts";
import { sendToCluster } from "#cli/kubeconfig/target-cluster.ts";
import { trustAuthorities } from "#cli/session/network-trust.ts";
import { startProgram } from "./programs.ts";

/** What the demo needs to know of its cluster. */
export interface DemoCluster {
  /** In words. */
  readonly description: string;
  /** The kubeconfig that the agent uses. */
  readonly agentKubeconfig: string;
  readonly agentContext: string | undefined;
  /** How its agent proves where it is. */
  readonly join: { readonly issuer: string; readonly jwks: object; readonly subject: string };
  readonly joinTokenFile: string;
  readonly replica: string;
  /** Where the tour goes: a namespace that both people may see, and a pod in it to run things in, if there is one. */
  readonly namespace: string;
}

/** The few calls that the demo makes as the cluster's admin. */
interface ClusterAdmin {
  create(target: string, object: object): Promise<void>;
  remove(target: string): Promise<void>;
}

export const joinAudience = "sallyport-demo";

const agentNamespace = "sallyport-system";
const agentAccount = "sallyport-agent";
const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

interface SandboxReady {
  readonly url: string;
  readonly caPem: string;
  readonly adminToken: string;
  readonly joinIssuer: string;
  readonly jwks: object;
}

/** Starts the sandbox and gives the two people their rights in it. */
export async function startSandboxCluster(folder: string, entry: URL, stops: (() => Promise<void>)[]): Promise<DemoCluster> {
  const joinTokenFile = join(folder, "join.jwt");
  const started = await startProgram({
    name: "the sandbox",
    entry,
    arguments: ["--agent-token-file", joinTokenFile, "--agent-audience", joinAudience],
    ready: (line) => (line.startsWith("{") ? JSON.parse(line) : undefined),
  });
  stops.push(() => started.program.stop());
  const ready = started.ready as SandboxReady; // the sandbox's one line
  await trustAuthorities(ready.caPem);
  const caFile = join(folder, "sandbox-ca.crt");
  await writeFile(caFile, ready.caPem);
  const admin = adminOf(ready.url, ready.adminToken);
  await bind(admin, dana.groups[0] ?? "", "cluster-admin");
  const developers = { kind: "Group", name: demoPrefix + (lee.groups[0] ?? ""), apiGroup: "rbac.authorization.k8s.io" };
  await admin.create("/apis/rbac.authorization.k8s.io/v1/namespaces/web/rolebindings", {
    metadata: { name: "developers" },
    subjects: [developers],
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "edit" },
  });
  const agentKubeconfig = join(folder, "agent.kubeconfig");
  const token = await requestAgentToken(ready.url, ready.adminToken);
  await writeFile(agentKubeconfig, kubeconfigText({ server: ready.url, caFile, token }), { mode: 0o600 });
  return {
    description: 'sandbox "toyshop": a small apiserver inside this demo; its pods are child processes',
    agentKubeconfig,
    agentContext: undefined,
    join: { issuer: ready.joinIssuer, jwks: ready.jwks, subject: `system:serviceaccount:${agentNamespace}:${agentAccount}` },
    joinTokenFile,
    replica: await podUidOf(joinTokenFile),
    namespace: "web",
  };
}

/**
 * Uses a cluster that the user's kubeconfig names, through kubectl's own credentials. The demo plays the cluster's ServiceAccount issuer
 * for the agent's join, because it runs outside the cluster and installs nothing in it.
 */
export async function openKubeconfigCluster(options: {
  readonly folder: string;
  readonly path: string;
  readonly context: string;
  readonly stops: (() => Promise<void>)[];
}): Promise<DemoCluster> {
  const { folder, path, context, stops } = options;
  const selection = { kubeconfig: path, context };
  const admin: ClusterAdmin = {
    create: (target, object) => sendToCluster(selection, { method: "POST", path: target, object }),
    remove: (target) => sendToCluster(selection, { method: "DELETE", path: target }),
  };
  const issuer = "https://demo.sallyport.invalid";
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const replica = crypto.randomUUID();
  const joinTokenFile = join(folder, "join.jwt");
  const subject = "system:serviceaccount:sallyport-demo:agent";
  await writeFile(
    joinTokenFile,
    signJoinToken({ privateKey: privateKey.export({ format: "pem", type: "pkcs8" }).toString(), issuer, subject, replica }),
    { mode: 0o600 },
  );
  await bind(admin, dana.groups[0] ?? "", "view");
  stops.push(() => admin.remove(`${bindings}/sallyport-demo-${dana.groups[0]}`));
  return {
    description: `the cluster of the context ${context}: dana may view it, lee may do nothing there`,
    agentKubeconfig: path,
    agentContext: context,
    join: { issuer, jwks: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "demo", alg: "ES256", use: "sig" }] }, subject },
    joinTokenFile,
    replica,
    namespace: "default",
  };
}

/** A cluster's admin by bearer token, over the trust that the process has been given. */
function adminOf(server: string, token: string): ClusterAdmin {
  const call = async (method: string, target: string, object?: object) => {
    const response = await fetch(server + target, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(object !== undefined && { body: JSON.stringify(object) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${target}: ${response.status} ${text.slice(0, 300)}`);
    return text;
  };
  return {
    create: async (target, object) => void (await call("POST", target, object)),
    remove: async (target) => void (await call("DELETE", target)),
  };
}

async function bind(admin: ClusterAdmin, group: string, role: string): Promise<void> {
  await admin.create(bindings, {
    metadata: { name: `sallyport-demo-${group}` },
    subjects: [{ kind: "Group", name: demoPrefix + group, apiGroup: "rbac.authorization.k8s.io" }],
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
  });
}

async function requestAgentToken(server: string, adminToken: string): Promise<string> {
  const response = await fetch(`${server}/api/v1/namespaces/${agentNamespace}/serviceaccounts/${agentAccount}/token`, {
    method: "POST",
    headers: { authorization: `Bearer ${adminToken}`, "content-type": "application/json" },
    body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: 86_400 } }),
  });
  const answer = (await response.json()) as { readonly status?: { readonly token?: string } }; // TokenRequest
  if (answer.status?.token === undefined) throw new Error(`the sandbox gave no token for the agent (status ${response.status})`);
  return answer.status.token;
}

async function podUidOf(tokenFile: string): Promise<string> {
  const payload = (await readFile(tokenFile, "utf8")).split(".")[1] ?? "";
  const claims: { readonly "kubernetes.io"?: { readonly pod?: { readonly uid?: string } } } = JSON.parse(
    Buffer.from(payload, "base64url").toString("utf8"),
  );
  return claims["kubernetes.io"]?.pod?.uid ?? "";
}

function signJoinToken(join_: {
  readonly privateKey: string;
  readonly issuer: string;
  readonly subject: string;
  readonly replica: string;
}): string {
  const now = Math.floor(Date.now() / 1000);
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = {
    iss: join_.issuer,
    sub: join_.subject,
    aud: joinAudience,
    iat: now,
    exp: now + 86_400,
    "kubernetes.io": { pod: { uid: join_.replica } },
  };
  const signed = `${encode({ alg: "ES256", kid: "demo", typ: "JWT" })}.${encode(claims)}`;
  const signature = createSign("SHA256").update(signed).sign({ key: join_.privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/** A kubeconfig with one context. */
export function kubeconfigText(user: { readonly server: string; readonly caFile: string; readonly token: string }): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster: { server: user.server, "certificate-authority": user.caFile } }],
    users: [{ name: "user", user: { token: user.token } }],
    contexts: [{ name: "context", context: { cluster: "cluster", user: "user" } }],
    "current-context": "context",
  });
}
