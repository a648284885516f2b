/**
 * A whole system for tests: the gateway in workerd over TLS, one registered cluster, and its agent as a child process in front of an
 * apiserver that the test gives.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile, mkdir } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createAuthority } from "#cli/workerd/certificates.ts";
import type { Authority } from "#cli/workerd/certificates.ts";
import { startGatewayProcess } from "#cli/workerd/gateway-process.ts";
import type { GatewayProcess } from "#cli/workerd/gateway-process.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { createTestIssuer } from "./issuer.ts";
import type { TestIssuer } from "./issuer.ts";

export const agentSubject = "system:serviceaccount:sallyport-system:sallyport-agent";

export interface GatewayFixture {
  readonly url: string;
  readonly port: number;
  readonly authority: Authority;
  readonly admin: TestIssuer;
  readonly folder: string;
  /** Lines that the gateway wrote: audit events and faults. */
  readonly lines: string[];
  readonly process: GatewayProcess;
  register(cluster: ClusterOptions): Promise<ClusterFixture>;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  readonly name: string;
  readonly audience?: string;
  /** The users' issuer; one that cannot be reached without. */
  readonly users?: TestIssuer;
  /** Whether gateway and agent are given the issuer's keys, or must get them themselves. */
  readonly keys?: "registered" | "fetched";
  /** How its people sign in. */
  readonly login?: LoginConfiguration;
  /** An AuthenticationConfiguration of its own, made from the issuer's URL and the audience. */
  readonly configuration?: (issuer: string, audience: string) => string;
}

export interface ClusterFixture {
  readonly name: string;
  readonly users: TestIssuer;
  readonly audience: string;
  readonly join: TestIssuer;
  readonly authenticationFile: string;
  /** What was registered, and stands in that file. */
  readonly configuration: string;
  /** A token of a user of this cluster. */
  token(subject: string, claims?: Readonly<Record<string, unknown>>, lifetimeSeconds?: number): Promise<string>;
  /** Starts an agent and waits until both lanes have joined. */
  startAgent(options: AgentOptions): Promise<AgentFixture>;
}

export interface AgentOptions {
  readonly kubeconfig: string;
  readonly replica?: string;
  /** Another program than the agent's own. */
  readonly program?: string;
  readonly arguments?: readonly string[];
  /** A key of its own instead of the cluster's. */
  readonly keyFile?: string;
  /** Another place to join than the gateway. */
  readonly gatewayUrl?: string;
  /** PEM to trust instead of the gateway's authority. */
  readonly gatewayCertificate?: string;
  /** The line that says that it runs as wanted. */
  readonly until?: RegExp;
}

export interface AgentFixture {
  readonly process: ChildProcess;
  readonly lines: string[];
  /** Resolves with the first line that matches. */
  waitFor(pattern: RegExp): Promise<string>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface GatewayOptions {
  readonly variables?: Readonly<Record<string, string>>;
  readonly bundle: string;
  /** A port that is known before the gateway starts, for what needs to know its URL by then; any free one when left out. */
  readonly port?: number;
  /** Another authority than one of the gateway's own. */
  readonly authority?: Authority;
}

export async function startGateway(options: GatewayOptions): Promise<GatewayFixture> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-test-"));
  const authority = options.authority ?? (await createAuthority("sallyport test", 86_400_000));
  const { certificate, key } = await authority.issue(["localhost", "127.0.0.1", "one.k8s.localhost", "two.k8s.localhost"]);
  const admin = await createTestIssuer("https://admins.example");
  const lines: string[] = [];
  const gatewayFolder = join(folder, "gateway");
  await mkdir(gatewayFolder);
  const gateway = await startGatewayProcess({
    folder: gatewayFolder,
    bundle: options.bundle,
    host: "127.0.0.1",
    port: options.port ?? 0,
    certificate,
    key,
    trusted: [authority.certificate],
    variables: {
      GATEWAY_URL: options.port === undefined ? "https://localhost" : `https://localhost:${options.port}`,
      CLUSTER_DOMAIN: "k8s.localhost",
      CLIENT_ADDRESS_HEADER: "",
      ADMIN_AUTHENTICATION: authenticationConfiguration(admin.url, "sallyport-admin"),
      ADMIN_RULE: `"admins" in user.groups`,
      ADMIN_LOGIN: "",
      ADMIN_ISSUER_KEYS: JSON.stringify({ [admin.url]: admin.keySet }),
      UPLOAD_BUFFER_MIB: "512",
      MAX_STREAMS_PER_USER: "2000",
      BUILD: "test",
      ...options.variables,
    },
    onLine: (line) => lines.push(line),
  });
  const url = `https://localhost:${gateway.port}`;
  const fixture: GatewayFixture = {
    url,
    port: gateway.port,
    authority,
    admin,
    folder,
    lines,
    process: gateway,
    register: (cluster) => registerCluster(fixture, cluster),
    stop: async () => {
      gateway.process.kill("SIGKILL"); // asked kindly, workerd waits for connections that tests have left open
      await gateway.stop();
      await rm(folder, { recursive: true });
    },
  };
  return fixture;
}

/** One issuer, username from `sub` and groups from `groups`, both with the prefix `oidc:`. */
export function authenticationConfiguration(issuer: string, audience: string, prefix = ""): string {
  return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: ${issuer}
    audiences: ["${audience}"]
  claimMappings:
    username: { claim: sub, prefix: "${prefix}" }
    groups: { claim: groups, prefix: "${prefix}" }
`;
}

/** A request to the gateway over its own TLS; the body is text. */
export async function ask(
  gateway: GatewayFixture,
  path: string,
  options: { method?: string; token?: string; body?: string; headers?: Readonly<Record<string, string>>; host?: string } = {},
): Promise<{ status: number; headers: Readonly<Record<string, string | string[] | undefined>>; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${gateway.url}${path}`,
      {
        method: options.method ?? "GET",
        ca: gateway.authority.certificate,
        headers: {
          ...(options.token !== undefined && { authorization: `Bearer ${options.token}` }),
          ...(options.host !== undefined && { host: options.host }),
          ...options.headers,
        },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString("utf8") }),
        );
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(options.body);
  });
}

async function registerCluster(gateway: GatewayFixture, options: ClusterOptions): Promise<ClusterFixture> {
  const { name } = options;
  const audience = options.audience ?? `cluster-${name}`;
  const users = options.users ?? (await createTestIssuer(`https://users.example/${name}`));
  const knownKeys = options.keys === "fetched" ? {} : { [users.url]: users.keySet };
  const joining = await createTestIssuer(`https://kubernetes.example/${name}`);
  const configuration = (options.configuration ?? ((issuer) => authenticationConfiguration(issuer, audience, "oidc:")))(
    users.url,
    audience,
  );
  const body = JSON.stringify({
    name,
    authenticationConfiguration: configuration,
    issuerKeys: knownKeys,
    join: { issuer: joining.url, jwks: joining.keySet, audience: "sallyport", subject: agentSubject },
    ...(options.login !== undefined && { login: options.login }),
    allowSharedAudience: false,
  });
  const token = await gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  const answer = await ask(gateway, "/gateway/v1/clusters", { method: "POST", token, body });
  if (answer.status !== 201) throw new Error(`cluster add: ${answer.status} ${answer.body}`);
  const folder = join(gateway.folder, name);
  await mkdir(folder, { recursive: true });
  const authenticationFile = join(folder, "authentication.yaml");
  await writeFile(authenticationFile, configuration);
  const keys = join(folder, "issuer-keys.json");
  await writeFile(keys, JSON.stringify(knownKeys));
  const keyFile = join(folder, "key.jwk");
  await writeFile(keyFile, JSON.stringify(generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" })), { mode: 0o600 });
  return {
    name,
    users,
    audience,
    join: joining,
    authenticationFile,
    configuration,
    token: (subject, claims = {}, lifetimeSeconds = 3600) => users.token({ sub: subject, aud: audience, ...claims }, lifetimeSeconds),
    startAgent: async (agent) => startAgent({ gateway, name, folder, keyFile, authenticationFile, keys, join: joining, agent }),
  };
}

interface AgentStart {
  readonly gateway: GatewayFixture;
  readonly name: string;
  readonly folder: string;
  readonly keyFile: string;
  readonly keys: string;
  readonly authenticationFile: string;
  readonly join: TestIssuer;
  readonly agent: AgentOptions;
}

async function startAgent(start: AgentStart): Promise<AgentFixture> {
  const { gateway, agent, folder } = start;
  const replica = agent.replica ?? "replica-1";
  const joinFile = join(folder, `join-${replica}.jwt`);
  await writeFile(joinFile, await start.join.token({ sub: agentSubject, aud: "sallyport", "kubernetes.io": { pod: { uid: replica } } }));
  const caFile = join(folder, `ca-${replica}.crt`);
  await writeFile(caFile, agent.gatewayCertificate ?? gateway.authority.certificate);
  const child = spawn(
    process.execPath,
    [
      ...(await nodeFlags()),
      agent.program ?? "src/agent/main.ts",
      ...["--gateway", agent.gatewayUrl ?? gateway.url, "--cluster", start.name, "--authentication-config", start.authenticationFile],
      ...[
        "--issuer-keys",
        start.keys,
        "--allow-group",
        "oidc:*",
        "--join-token-file",
        joinFile,
        "--key-file",
        agent.keyFile ?? start.keyFile,
      ],
      ...["--kubeconfig", agent.kubeconfig, "--gateway-ca", caFile, "--replica", replica, ...(agent.arguments ?? [])],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const fixture = watchLines(child);
  await Promise.race([
    fixture.waitFor(agent.until ?? /"event":"ready"/),
    once(child, "exit").then(() => Promise.reject(new Error(`the agent stopped:\n${fixture.lines.join("\n")}`))),
  ]);
  return fixture;
}

/** What the image gives to Node before the program's own path. */
async function nodeFlags(): Promise<readonly string[]> {
  const entrypoint: readonly string[] = JSON.parse(await readFile("infra/image/entrypoint.json", "utf8"));
  return entrypoint.slice(1, -1);
}

function watchLines(child: ChildProcess): AgentFixture {
  const lines: string[] = [];
  const waiters = new Set<(line: string) => void>();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      for (const waiter of waiters) waiter(line);
    });
  }
  return {
    process: child,
    lines,
    waitFor: (pattern) =>
      new Promise((resolve) => {
        const known = lines.find((line) => pattern.test(line));
        if (known !== undefined) return resolve(known);
        const waiter = (line: string) => {
          if (!pattern.test(line)) return;
          waiters.delete(waiter);
          resolve(line);
        };
        waiters.add(waiter);
      }),
    stop: async (signal = "SIGTERM") => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await once(child, "exit");
    },
  };
}
