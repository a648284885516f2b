/** A real Kubernetes for the tests: started, changed and stopped from one object. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { type AdminAccess, type AdminAnswer, type AdminRequest, askApiserver, isApiserverReady } from "./admin.ts";
import { Authority, type CertificateRequest } from "./authority.ts";
import { assertClusterBuilt, clusterFiles } from "./cache.ts";
import { type CommandOptions, mustRun, runCommand, waitUntil } from "./command.ts";
import {
  type ApiserverPlan,
  apiserverProgram,
  authenticationFile,
  controllerPrograms,
  type ControlPlanePlan,
  dnsProgram,
  etcdProgram,
  freePort,
} from "./control-plane.ts";
import { type Credential, writeKubeconfig } from "./kubeconfig.ts";
import { createClusterFolder, removeAbandonedClusters, removeCluster } from "./leftovers.ts";
import { claimNetwork, createNetwork, type NetworkPlan, serviceSubnet } from "./network.ts";
import { importImage, startKubelet, startNode } from "./node.ts";
import type { ServiceProxyKind } from "./service-proxy.ts";
import { Processes } from "./processes.ts";

export interface ClusterOptions {
  /** 0 gives a control plane alone: it needs no root and no network of its own. */
  readonly nodes?: number;
  readonly apiservers?: number;
  /** Whether pods, nodes and Services have IPv6 addresses beside those of IPv4. */
  readonly dualStack?: boolean;
  /** Text of an AuthenticationConfiguration for every apiserver (`--authentication-config`). */
  readonly authenticationConfiguration?: string;
  /** Added to every apiserver's command line. */
  readonly apiserverFlags?: readonly string[];
  /** What serves Services on the nodes: Kubernetes' own, unless told. */
  readonly serviceProxy?: ServiceProxyKind;
  /** Names for which the cluster's DNS gives this machine's address, such as the gateway's. */
  readonly hostNames?: readonly string[];
  /** Options that depend on this machine's address on the cluster's network, which is known only once the cluster has claimed one. */
  readonly atHost?: (hostAddress: string) => Pick<ClusterOptions, "authenticationConfiguration">;
}

/** One of the cluster's apiservers. The first also serves the cluster's own programs, so tests of failure kill another. */
export interface Apiserver {
  readonly name: string;
  readonly url: string;
  /** Ends it at once, as a crash does. */
  kill(): Promise<void>;
  /** Asks it to end, and waits until it has, however long it takes. */
  terminate(): Promise<void>;
  /** Stops it in the middle of what it does, as a machine without memory does; its kernel goes on taking connections. */
  freeze(): void;
  /** Lets it go on. */
  thaw(): void;
  /** Starts it again at the same address and waits until it is ready. */
  restart(): Promise<void>;
  /** A request as admin to this one. */
  ask(question: AdminRequest): Promise<AdminAnswer>;
}

const apiserverStartMs = 120_000;
const nodeStartMs = 120_000;
const rolloutSeconds = 120;
const apiserverPort = 6443;
const loopback = "127.0.0.1";

/** Starts a cluster and waits until its apiservers and nodes are ready. Whoever starts it stops it. */
export async function startCluster(given: ClusterOptions = {}): Promise<Cluster> {
  assertClusterBuilt();
  await removeAbandonedClusters();
  const nodes = given.nodes ?? 2;
  const apiservers = given.apiservers ?? 2;
  const network = nodes === 0 ? undefined : await claimNetwork({ nodes, apiservers, dualStack: given.dualStack ?? false });
  const options = { ...given, ...given.atHost?.(network?.hostAddress ?? loopback) };
  const folder = createClusterFolder(network);
  const cluster = new Cluster(folder, network, await planControlPlane(folder, network, options));
  try {
    await cluster.start(options);
    return cluster;
  } catch (error) {
    const why = cluster.lastWords();
    await cluster.stop();
    throw new Error(`the test cluster did not start\n${why}`, { cause: error });
  }
}

async function planControlPlane(folder: string, network: NetworkPlan | undefined, options: ClusterOptions): Promise<ControlPlanePlan> {
  const addresses = network?.apiserverAddresses ?? Array.from({ length: options.apiservers ?? 2 }, () => loopback);
  const apiservers: ApiserverPlan[] = [];
  for (const [index, address] of addresses.entries()) {
    apiservers.push({ name: `apiserver${index + 1}`, address, port: network === undefined ? await freePort() : apiserverPort });
  }
  return {
    folder,
    etcdUrl: `http://${loopback}:${await freePort()}`,
    etcdPeerUrl: `http://${loopback}:${await freePort()}`,
    apiservers,
    routable: network !== undefined,
    serviceSubnets: network?.serviceSubnets ?? [serviceSubnet],
    apiserverFlags: options.apiserverFlags ?? [],
    ...(options.authenticationConfiguration === undefined ? {} : { authenticationConfiguration: options.authenticationConfiguration }),
  };
}

export class Cluster {
  /** Everything that belongs to the cluster is in here; it goes with it. */
  readonly folder: string;
  /** Undefined for a control plane alone. */
  readonly network: NetworkPlan | undefined;
  readonly #plan: ControlPlanePlan;
  readonly #processes: Processes;
  #authority: Authority | undefined;

  constructor(folder: string, network: NetworkPlan | undefined, plan: ControlPlanePlan) {
    this.folder = folder;
    this.network = network;
    this.#plan = plan;
    this.#processes = new Processes(folder);
  }

  /** Kubeconfig of the cluster's admin (system:masters), directly at the first apiserver. */
  get adminKubeconfig(): string {
    return path.join(this.folder, "admin.kubeconfig");
  }

  get caFile(): string {
    return path.join(this.folder, "pki", "ca.crt");
  }

  get caPem(): string {
    return readFileSync(this.caFile, "utf8");
  }

  /** The key that signs ServiceAccount tokens, as SPKI PEM. */
  get serviceAccountPublicKeyPem(): string {
    return readFileSync(path.join(this.folder, "pki", "service-account.pub"), "utf8");
  }

  get apiservers(): readonly Apiserver[] {
    return this.#plan.apiservers.map((plan) => this.#apiserver(plan));
  }

  /** An address of this host that pods reach; the loopback address for a control plane alone. */
  get hostAddress(): string {
    return this.network?.hostAddress ?? loopback;
  }

  /** Runs the cluster's own kubectl as admin; throws when it fails. */
  async admin(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    return mustRun(clusterFiles.kube, this.#asAdmin(args), options);
  }

  /** Waits until a Deployment's or DaemonSet's pods all serve. Throws with all that the cluster has to say about them otherwise. */
  async waitForRollout(namespace: string, workload: string): Promise<void> {
    try {
      await this.admin(["-n", namespace, "rollout", "status", workload, `--timeout=${rolloutSeconds}s`]);
    } catch (error) {
      throw new Error(`${workload} does not serve\n${await this.#troubleOf(namespace)}`, { cause: error });
    }
  }

  /** Gives every node a container image from an archive. */
  async importImage(archive: string): Promise<void> {
    for (const node of this.network?.nodes ?? []) await importImage(this.folder, node, archive);
  }

  /** Writes a kubeconfig for a user of an apiserver, the first unless told. */
  kubeconfigFor(name: string, credential: Credential, server?: string): string {
    const url = server ?? urlOf(this.#firstApiserver());
    return writeKubeconfig(path.join(this.folder, `${name}.kubeconfig`), { server: url, caFile: this.caFile, credential });
  }

  /** Signs a client certificate, so that a test can be any user and group directly. */
  async clientCertificate(request: CertificateRequest): Promise<Credential> {
    await this.#signer().issue(request);
    return this.#certificate(request.name);
  }

  /** Replaces the AuthenticationConfiguration; the apiservers read it again by themselves. */
  setAuthenticationConfiguration(text: string): void {
    writeFileSync(authenticationFile(this.folder), text);
  }

  /** What a program has logged: apiserver1, etcd, kubelet-node1, … */
  logOf(program: string): string {
    return this.#processes.logOf(program);
  }

  /** Ends a program of a node at once, as a crash does: `service-proxy-node1`. */
  async kill(program: string): Promise<void> {
    await this.#processes.stop(program, "SIGKILL");
  }

  /** Starts a program again with the same command. */
  restart(program: string): void {
    this.#processes.restart(program);
  }

  /** The last lines of the programs that a failed start is usually about. */
  lastWords(): string {
    const names = [
      "etcd",
      ...this.#plan.apiservers.map(({ name }) => name),
      ...(this.network?.nodes ?? []).flatMap(({ name }) => [`kubelet-${name}`, `service-proxy-${name}`]),
    ];
    return names.map((name) => `--- ${name}\n${lastLines(this.#processes, name)}`).join("\n");
  }

  async start(options: ClusterOptions): Promise<void> {
    await this.#writeSecrets();
    if (options.authenticationConfiguration !== undefined) this.setAuthenticationConfiguration(options.authenticationConfiguration);
    if (this.network !== undefined) await createNetwork(this.network);
    this.#processes.start(etcdProgram(this.#plan));
    for (const apiserver of this.#plan.apiservers) this.#processes.start(apiserverProgram(this.#plan, apiserver));
    for (const apiserver of this.#plan.apiservers) await this.#waitReady(apiserver);
    for (const program of controllerPrograms(this.#plan)) this.#processes.start(program);
    await this.#waitDefaultServiceAccount();
    const { network } = this;
    if (network === undefined) return;
    this.#processes.start(dnsProgram(this.folder, network.hostAddress, options.hostNames ?? []));
    const serviceProxy = options.serviceProxy ?? "kube-proxy";
    const apiserverUrls = this.#plan.apiservers.map(urlOf);
    const started = { folder: this.folder, network, processes: this.#processes, serviceProxy, apiserverUrls };
    await Promise.all(network.nodes.map((node) => startNode(started, node)));
    for (const node of network.nodes) await startKubelet(started, node);
    await waitUntil("all nodes ready", nodeStartMs, () => this.#areNodesReady());
  }

  /** Stops everything and removes every trace. */
  async stop(): Promise<void> {
    await removeCluster(this.folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** What a namespace's pods are, what has happened to them, and their last words. */
  async #troubleOf(namespace: string): Promise<string> {
    const questions = [
      ["get", "pods", "-o", "wide"],
      ["describe", "pods"],
      ["get", "events", "--sort-by=.metadata.creationTimestamp"],
      ["logs", "--selector=!none", "--prefix", "--tail=20"],
    ];
    const answers = questions.map(async (question) => {
      const { stdout, stderr } = await runCommand(clusterFiles.kube, this.#asAdmin(["-n", namespace, ...question]));
      return `--- kubectl ${question.join(" ")}\n${stdout}${stderr}`;
    });
    return [...(await Promise.all(answers)), this.lastWords()].join("\n");
  }

  #asAdmin(args: readonly string[]): readonly string[] {
    return ["kubectl", `--kubeconfig=${this.adminKubeconfig}`, ...args];
  }

  #apiserver(plan: ApiserverPlan): Apiserver {
    return {
      name: plan.name,
      url: urlOf(plan),
      kill: () => this.#processes.stop(plan.name, "SIGKILL"),
      terminate: () => this.#processes.terminate(plan.name),
      freeze: () => this.#processes.signal(plan.name, "SIGSTOP"),
      thaw: () => this.#processes.signal(plan.name, "SIGCONT"),
      restart: async () => {
        this.#processes.restart(plan.name);
        await this.#waitReady(plan);
      },
      ask: (question) => askApiserver(this.#access(plan), question),
    };
  }

  #firstApiserver(): ApiserverPlan {
    const [first] = this.#plan.apiservers;
    if (first === undefined) throw new Error("a cluster has at least one apiserver");
    return first;
  }

  #signer(): Authority {
    if (this.#authority === undefined) throw new Error("the cluster was not started");
    return this.#authority;
  }

  #certificate(name: string): Credential {
    const file = path.join(this.folder, "pki", name);
    return { type: "certificate", certificateFile: `${file}.crt`, keyFile: `${file}.key` };
  }

  #access(plan: ApiserverPlan): AdminAccess {
    const pem = (file: string): string => readFileSync(path.join(this.folder, "pki", file), "utf8");
    return { url: urlOf(plan), caPem: this.caPem, certificatePem: pem("admin.crt"), keyPem: pem("admin.key") };
  }

  async #waitReady(plan: ApiserverPlan): Promise<void> {
    await waitUntil(`${plan.name} ready`, apiserverStartMs, () => isApiserverReady(this.#access(plan)));
  }

  /** Pods cannot be made before the controllers have made their namespace's ServiceAccount. */
  async #waitDefaultServiceAccount(): Promise<void> {
    const access = this.#access(this.#firstApiserver());
    await waitUntil("the default ServiceAccount", apiserverStartMs, async () => {
      const answer = await askApiserver(access, { path: "/api/v1/namespaces/default/serviceaccounts/default" });
      return answer.status === 200;
    });
  }

  async #areNodesReady(): Promise<boolean> {
    const answer = await askApiserver(this.#access(this.#firstApiserver()), { path: "/api/v1/nodes" });
    // core/v1 NodeList, as far as readiness needs it.
    const list = JSON.parse(answer.text) as { items: { status: { conditions?: { type: string; status: string }[] } }[] };
    const ready = list.items.filter((node) => node.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True"));
    return ready.length === (this.network?.nodes.length ?? 0);
  }

  async #writeSecrets(): Promise<void> {
    const authority = await Authority.create(path.join(this.folder, "pki"), "sallyport-test-cluster");
    this.#authority = authority;
    await authority.writeKeyPair("service-account");
    for (const request of certificateRequests(this.#plan, this.network)) await authority.issue(request);
    const system = ["admin", "controller-manager", "scheduler", "kube-proxy", ...(this.network?.nodes ?? []).map(({ name }) => name)];
    for (const name of system) this.kubeconfigFor(name, this.#certificate(name));
  }
}

function certificateRequests(plan: ControlPlanePlan, network: NetworkPlan | undefined): readonly CertificateRequest[] {
  const service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
  // The first address of the Service range is default/kubernetes.
  const addresses = new Set([...plan.apiservers.map(({ address }) => address), loopback, "10.96.0.1"]);
  return [
    { name: "apiserver", commonName: "kube-apiserver", dnsNames: service, addresses: [...addresses] },
    { name: "admin", commonName: "admin", organizations: ["system:masters"] },
    { name: "controller-manager", commonName: "system:kube-controller-manager" },
    { name: "scheduler", commonName: "system:kube-scheduler" },
    { name: "kube-proxy", commonName: "system:kube-proxy" },
    { name: "front-proxy", commonName: "front-proxy" },
    ...(network?.nodes ?? []).map(({ name, addresses: own }) => ({
      name,
      commonName: `system:node:${name}`,
      organizations: ["system:nodes"],
      dnsNames: [name],
      addresses: own,
    })),
  ];
}

function urlOf(plan: ApiserverPlan): string {
  return `https://${plan.address}:${plan.port}`;
}

function lastLines(processes: Processes, name: string): string {
  const shown = 15;
  try {
    return processes.logOf(name).split("\n").slice(-shown).join("\n");
  } catch {
    // The program was never started.
    return "(not started)";
  }
}
