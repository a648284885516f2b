/**
 * The ways to an apiserver that are compared. Each is started in front of the same upstream and reached in the same manner: HTTP/1.1,
 * a bearer token, TLS to the client wherever the contender can speak it.
 */
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority } from "#cli/workerd/certificates.ts";
import type { CertifiedKey } from "#cli/workerd/certificates.ts";
import { startGateway } from "#test/support/system.ts";
import { exitOf, nextLine, startProgram } from "./program.ts";
import type { Target } from "./program.ts";
import { startWorker } from "./workerd.ts";

export type ContenderName = "direct" | "kubectl proxy" | "Sallyport" | "fetch proxy" | "remotedialer";

export interface Contender {
  readonly name: ContenderName;
  readonly target: Target;
  /** A kubeconfig for kubectl that leads here. */
  readonly kubeconfig: string;
  /** The processes between client and apiserver. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

/** What all contenders stand in front of. */
export interface Upstream {
  /** The apiserver; its token is that of an admin. */
  readonly target: Target;
  /** PEM of its authority; none over plain HTTP. */
  readonly authority: string | undefined;
  /** Kubeconfigs with admin rights: for `kubectl proxy`, and for the agent. */
  readonly kubeconfig: string;
}

export interface Workshop {
  /** Everything is written under here. */
  readonly folder: string;
  /** The Go programs, kubectl and the gateway's bundle. */
  readonly binary: string;
  readonly kubectl: readonly [string, ...string[]];
  readonly bundle: string;
}

/** Which legs are encrypted, for the report. */
export const legs: Readonly<Record<ContenderName, string>> = {
  direct: "client =TLS= apiserver",
  "kubectl proxy": "client -plain- kubectl proxy =TLS (HTTP/2)= apiserver",
  Sallyport: "client =TLS= Worker, Durable Object =WSS= agent =TLS= apiserver",
  "fetch proxy": "client =TLS= Worker =TLS= apiserver",
  remotedialer: "client =TLS= server =WSS= client, and TLS from the server to the apiserver inside the tunnel",
};

/** Starts one contender. */
export async function startContender(name: ContenderName, upstream: Upstream, workshop: Workshop): Promise<Contender> {
  const folder = join(workshop.folder, `${name.replace(" ", "-")}-${process.hrtime.bigint()}`);
  await mkdir(folder);
  const parts = await starters[name]({ upstream, workshop, folder });
  const kubeconfig = await writeKubeconfig(join(folder, "kubeconfig"), parts.target);
  return { name, kubeconfig, ...parts };
}

interface Start {
  readonly upstream: Upstream;
  readonly workshop: Workshop;
  readonly folder: string;
}

type Parts = Pick<Contender, "target" | "pids" | "stop">;

const starters: Readonly<Record<ContenderName, (start: Start) => Promise<Parts>>> = {
  direct: async ({ upstream }) => ({ target: upstream.target, pids: [], stop: async () => undefined }),
  "kubectl proxy": startKubectlProxy,
  Sallyport: startSallyport,
  "fetch proxy": startFetchProxy,
  remotedialer: startRemotedialer,
};

async function startKubectlProxy({ upstream, workshop }: Start): Promise<Parts> {
  const [program, ...args] = workshop.kubectl;
  // Its filter refuses exec and attach unless told; a client of the bench wants both.
  const child = spawn(program, [...args, `--kubeconfig=${upstream.kubeconfig}`, "proxy", "--port=0", "--disable-filter"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const line = await nextLine(child.stdout);
  const address = /127\.0\.0\.1:\d+/.exec(line)?.[0];
  if (address === undefined) throw new Error(`kubectl proxy said: ${line}`);
  return { target: { url: `http://${address}`, caFile: "", token: "" }, pids: pidsOf(child), stop: () => exitOf(child, "SIGTERM") };
}

async function startSallyport({ upstream, workshop, folder }: Start): Promise<Parts> {
  const gateway = await startGateway({ bundle: workshop.bundle });
  const cluster = await gateway.register({ name: "one" });
  const agent = await cluster.startAgent({ kubeconfig: upstream.kubeconfig });
  const caFile = join(folder, "ca.crt");
  await writeFile(caFile, gateway.authority.certificate);
  const token = await cluster.token("bench", { groups: ["bench"] }, 86_400);
  return {
    target: { url: `https://localhost:${gateway.port}/k/one`, caFile, token },
    pids: [...pidsOf(gateway.process.process), ...pidsOf(agent.process)],
    stop: async () => {
      await agent.stop("SIGKILL");
      await gateway.stop();
    },
  };
}

async function startFetchProxy({ upstream, folder }: Start): Promise<Parts> {
  const certified = await certify(folder);
  const worker = await startWorker({
    folder: join(folder, "worker"),
    script: "fetch-proxy.js",
    certified,
    variables: { UPSTREAM: upstream.target.url },
    trusted: upstream.authority === undefined ? [] : [upstream.authority],
  });
  const target = { url: `https://localhost:${worker.port}`, caFile: join(folder, "ca.crt"), token: upstream.target.token };
  return { target, pids: pidsOf(worker.child), stop: () => worker.stop() };
}

async function startRemotedialer({ upstream, workshop, folder }: Start): Promise<Parts> {
  const certified = await certify(folder);
  const files = { certificate: join(folder, "tls.crt"), key: join(folder, "tls.key"), ca: join(folder, "ca.crt") };
  await writeFile(files.certificate, certified.certificate);
  await writeFile(files.key, certified.key, { mode: 0o600 });
  const { url, caFile, token } = upstream.target;
  const tls = ["-certificate", files.certificate, "-key", files.key, ...(caFile === "" ? [] : ["-upstream-ca", caFile])];
  const server = await startProgram(workshop.binary, ["remotedialer-server", "-upstream", url, ...tls]);
  const { port } = server.first;
  const client = await startProgram(workshop.binary, [
    "remotedialer-client",
    "-server",
    `wss://localhost:${port}/connect`,
    "-ca",
    files.ca,
  ]);
  return {
    target: { url: `https://localhost:${port}`, caFile: files.ca, token },
    pids: [...pidsOf(server.child), ...pidsOf(client.child)],
    stop: async () => {
      await client.stop();
      await server.stop();
    },
  };
}

/** A certificate for localhost, with its authority in `ca.crt`. */
export async function certify(folder: string): Promise<CertifiedKey> {
  const authority = await createAuthority("sallyport bench", 86_400_000);
  await writeFile(join(folder, "ca.crt"), authority.certificate);
  return authority.issue(["localhost", "127.0.0.1"]);
}

/** A kubeconfig for one target, as JSON, which is YAML. */
export async function writeKubeconfig(file: string, { url, caFile, token }: Target): Promise<string> {
  const cluster = { server: url, ...(caFile !== "" && { "certificate-authority": caFile }) };
  const document = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "bench", cluster }],
    users: [{ name: "bench", user: { token: token === "" ? "none" : token } }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench", namespace: "bench" } }],
    "current-context": "bench",
  };
  await writeFile(file, JSON.stringify(document), { mode: 0o600 });
  return file;
}

function pidsOf(child: { readonly pid?: number | undefined }): readonly number[] {
  return child.pid === undefined ? [] : [child.pid];
}
