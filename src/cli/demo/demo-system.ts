/** Everything that the demo starts, in order, and ends in the other: issuer, cluster, gateway, agent. */
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trustAuthorities } from "#cli/session/network-trust.ts";
import { createAuthority } from "#cli/workerd/certificates.ts";
import type { Authority } from "#cli/workerd/certificates.ts";
import { startGatewayProcess } from "#cli/workerd/gateway-process.ts";
import type { GatewayProcess } from "#cli/workerd/gateway-process.ts";
import { joinAudience, openKubeconfigCluster, startSandboxCluster } from "./demo-cluster.ts";
import type { DemoCluster } from "./demo-cluster.ts";
import { dana, demoPeople, demoPrefix } from "./people.ts";
import { startProgram } from "./programs.ts";
import { signIn } from "./sign-in.ts";

export interface DemoOptions {
  /** Port of the gateway; 0 lets the system choose. */
  readonly port: number;
  /** The kubeconfig and context of a real cluster; undefined starts the sandbox. */
  readonly kubeconfig: { readonly path: string; readonly context: string } | undefined;
  /** The programs to start, and the Worker's bundle. */
  readonly parts: { readonly sandbox: URL; readonly agent: URL; readonly issuer: URL; readonly worker: string };
  /** Told what has been started. */
  readonly say: (what: string, detail: string) => void;
}

/** A person who has signed in. */
export interface SignedIn {
  readonly name: string;
  readonly role: string;
  readonly token: string;
}

export interface DemoSystem {
  readonly gatewayUrl: string;
  /** The cluster's URL at the gateway. */
  readonly clusterUrl: string;
  readonly namespace: string;
  readonly isSandbox: boolean;
  readonly people: readonly SignedIn[];
  /** PEM file of the demo's CA. */
  readonly caFile: string;
  /** A kubeconfig with one context for each person. */
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

export const demoClusterName = "toyshop";
const clusterClient = "toyshop.demo";
const gatewayClient = "gateway.demo";

/** Longer than any demo, shorter than anybody could want to keep these certificates. */
const certificateMs = 7 * 86_400_000;

/** Starts the whole system; what was started is ended again when a later part fails. */
export async function startDemo(options: DemoOptions): Promise<DemoSystem> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-demo-"));
  const stops: (() => Promise<void>)[] = [() => rm(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const end of stops.splice(0).toReversed()) await end().catch((error: unknown) => options.say("not stopped", String(error)));
  };
  try {
    const authority = await createAuthority("Sallyport demo CA", certificateMs);
    await trustAuthorities(authority.certificate);
    const caFile = join(folder, "ca.crt");
    await writeFile(caFile, authority.certificate);
    const gatewayUrl = `https://localhost:${options.port}`;
    const issuer = await startIssuer({ folder, authority, entry: options.parts.issuer, gatewayUrl, stops });
    options.say("company login", `${issuer}   people: ${demoPeople.map(({ name, role }) => `${name} (${role})`).join(", ")}`);
    const cluster =
      options.kubeconfig === undefined
        ? await startSandboxCluster(folder, options.parts.sandbox, stops)
        : await openKubeconfigCluster({ folder, stops, ...options.kubeconfig });
    options.say("cluster", cluster.description);
    const gateway = await startGateway({ folder, authority, issuer, options });
    stops.push(() => gateway.stop());
    options.say("gateway", `${gatewayUrl}   (workerd; no port of the cluster is open to it)`);
    const system = { folder, authority, issuer, cluster, gatewayUrl, caFile };
    await register(system);
    await startAgent(system, options.parts.agent, stops);
    options.say("agent", "joined the gateway by two outbound WebSockets");
    const people = await Promise.all(
      demoPeople.map(async ({ name, role }) => ({ name, role, token: await signIn(issuer, clusterClient, name) })),
    );
    const clusterUrl = `${gatewayUrl}/k/${demoClusterName}`;
    const kubeconfig = join(folder, "kubeconfig");
    await writeFile(kubeconfig, renderKubeconfig({ people, clusterUrl, authority, namespace: cluster.namespace }), { mode: 0o600 });
    return {
      gatewayUrl,
      clusterUrl,
      namespace: cluster.namespace,
      isSandbox: options.kubeconfig === undefined,
      people,
      caFile,
      kubeconfig,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Started {
  readonly folder: string;
  readonly authority: Authority;
  readonly issuer: string;
  readonly cluster: DemoCluster;
  readonly gatewayUrl: string;
  readonly caFile: string;
}

async function startIssuer(parts: {
  readonly folder: string;
  readonly authority: Authority;
  readonly entry: URL;
  readonly gatewayUrl: string;
  readonly stops: (() => Promise<void>)[];
}): Promise<string> {
  const { certificate, key } = await parts.authority.issue(["localhost", "127.0.0.1"]);
  const certificateFile = join(parts.folder, "issuer.crt");
  const keyFile = join(parts.folder, "issuer.key");
  await writeFile(certificateFile, certificate);
  await writeFile(keyFile, key, { mode: 0o600 });
  const started = await startProgram({
    name: "the issuer",
    entry: parts.entry,
    arguments: [
      ...["--certificate", certificateFile, "--key", keyFile, "--gateway", parts.gatewayUrl],
      ...["--client", clusterClient, "--client", gatewayClient],
    ],
    ready: (line) => (line.startsWith("{") ? JSON.parse(line) : undefined),
  });
  parts.stops.push(() => started.program.stop());
  return (started.ready as { readonly url: string }).url; // the issuer's one line
}

async function startGateway(parts: {
  readonly folder: string;
  readonly authority: Authority;
  readonly issuer: string;
  readonly options: DemoOptions;
}): Promise<GatewayProcess> {
  const { authority, issuer, options } = parts;
  const folder = join(parts.folder, "gateway");
  await mkdir(folder);
  const { certificate, key } = await authority.issue(["localhost", "127.0.0.1"]);
  return startGatewayProcess({
    folder,
    bundle: options.parts.worker,
    host: "127.0.0.1",
    port: options.port,
    certificate,
    key,
    trusted: [authority.certificate],
    variables: {
      GATEWAY_URL: `https://localhost:${options.port}`,
      CLUSTER_DOMAIN: "",
      ADMIN_AUTHENTICATION: authentication(issuer, gatewayClient, undefined),
      ADMIN_RULE: `"${demoPrefix}${dana.groups[0]}" in user.groups`,
      ADMIN_LOGIN: JSON.stringify({ issuer, clientId: gatewayClient, scopes: ["openid"] }),
      ADMIN_ISSUER_KEYS: "",
      CLIENT_ADDRESS_HEADER: "",
      UPLOAD_BUFFER_MIB: "512",
      MAX_STREAMS_PER_USER: "2000",
      BUILD: "demo",
      GATEWAY_AUTHORITY: authority.certificate,
      SESSION_KEYS: `demo:${randomBytes(32).toString("base64url")}`,
    },
    onLine: (line) => {
      if (process.env["SALLYPORT_DEBUG"] !== undefined) process.stderr.write(`gateway: ${line}\n`);
    },
  });
}

/** The cluster's policy, the same words that a kube-apiserver takes: the company's login, and the gateway's own tokens for kubeconfigs. */
function clusterAuthentication({ issuer, authority, gatewayUrl }: Pick<Started, "issuer" | "authority" | "gatewayUrl">): string {
  return `${authentication(issuer, clusterClient, authority)}- issuer:
    url: ${gatewayUrl}/issuer
    audiences: ["${demoClusterName}.gateway"]
    certificateAuthority: ${JSON.stringify(authority.certificate)}
  claimMappings:
    username: { claim: sub, prefix: "" }
    groups: { claim: groups, prefix: "" }
`;
}

function authentication(issuer: string, audience: string, authority: Authority | undefined): string {
  const pem = authority === undefined ? "" : `    certificateAuthority: ${JSON.stringify(authority.certificate)}\n`;
  return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: ${issuer}
    audiences: ["${audience}"]
${pem}  claimMappings:
    username: { claim: sub, prefix: "${demoPrefix}" }
    groups: { claim: groups, prefix: "${demoPrefix}" }
`;
}

async function register(system: Started): Promise<void> {
  const { issuer, cluster, gatewayUrl } = system;
  const keys: unknown = await (await fetch(`${issuer}/jwks`)).json();
  const response = await fetch(`${gatewayUrl}/gateway/v1/clusters`, {
    method: "POST",
    headers: { authorization: `Bearer ${await signIn(issuer, gatewayClient, dana.name)}`, "content-type": "application/json" },
    body: JSON.stringify({
      name: demoClusterName,
      authenticationConfiguration: clusterAuthentication(system),
      issuerKeys: { [issuer]: keys },
      join: { ...cluster.join, audience: joinAudience },
      login: { issuer, clientId: clusterClient, scopes: ["openid"] },
      allowSharedAudience: false,
    }),
  });
  if (response.status !== 201) throw new Error(`the gateway did not take the cluster: ${response.status} ${await response.text()}`);
}

async function startAgent(system: Started, entry: URL, stops: (() => Promise<void>)[]): Promise<void> {
  const { folder, cluster, gatewayUrl, caFile } = system;
  const policy = join(folder, "authentication.yaml");
  await writeFile(policy, clusterAuthentication(system));
  const context = cluster.agentContext === undefined ? [] : [`--context=${cluster.agentContext}`];
  const started = await startProgram({
    name: "the agent",
    entry,
    arguments: [
      `--gateway=${gatewayUrl}`,
      `--gateway-ca=${caFile}`,
      `--cluster=${demoClusterName}`,
      `--authentication-config=${policy}`,
      `--allow-group=${demoPrefix}*`,
      `--kubeconfig=${cluster.agentKubeconfig}`,
      `--join-token-file=${cluster.joinTokenFile}`,
      `--key-file=${join(folder, "agent-key.jwk")}`,
      `--replica=${cluster.replica}`,
      ...context,
    ],
    ready: (line) => (line.includes('"event":"ready"') ? true : undefined),
  });
  stops.push(() => started.program.stop());
}

interface KubeconfigParts {
  readonly people: readonly SignedIn[];
  readonly clusterUrl: string;
  readonly authority: Authority;
  readonly namespace: string;
}

function renderKubeconfig({ people, clusterUrl, authority, namespace }: KubeconfigParts): string {
  const certificate = Buffer.from(authority.certificate).toString("base64");
  return `${JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: demoClusterName, cluster: { server: clusterUrl, "certificate-authority-data": certificate } }],
      users: people.map(({ name, token }) => ({ name, user: { token } })),
      contexts: people.map(({ name }) => ({ name, context: { cluster: demoClusterName, user: name, namespace } })),
      "current-context": people[0]?.name,
    },
    undefined,
    2,
  )}\n`;
}
