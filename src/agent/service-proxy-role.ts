/** The role `service-proxy`: what is read of the cluster, planned and applied, and who can ask about it. */
import { readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { ApiserverAccess } from "./cluster-access.ts";
import { EventRecorder } from "./cluster/events.ts";
import { NodeLease } from "./cluster/node-lease.ts";
import { StartupTaint } from "./cluster/startup-taint.ts";
import type { ResourceWatchState } from "./cluster/watch.ts";
import type { Clock } from "./clock.ts";
import type { ServiceProxyConfig } from "./config/service-proxy-config.ts";
import type { ConnectionCount, CountedAddress } from "./dataplane/conntrack/connections.ts";
import type { Dataplane, IpFamily, ServiceTable, SocketsView } from "./dataplane/dataplane.ts";
import type { HealthCheck, Plan, PlanOptions } from "./dataplane/node-plan.ts";
import { StrictView } from "./dataplane/strict-view.ts";
import { connectionKey, tracedAddresses, traceService } from "./dataplane/trace.ts";
import type { TraceTarget } from "./dataplane/trace.ts";
import { machineAddresses, processUsage } from "./machine.ts";
import { ApiserverFollower, apiserverService } from "./service-proxy-apiservers.ts";
import { ServiceProxyReading } from "./service-proxy-reading.ts";
import { ConfigurationFile } from "./service-proxy/configuration-file.ts";
import { HealthCheckPorts } from "./service-proxy/health-check-ports.ts";
import { ProxyHealth } from "./service-proxy/health.ts";
import { IgnoredEndpoints } from "./service-proxy/ignored-endpoints.ts";
import { KeptListener } from "./service-proxy/http-listener.ts";
import type { Answer, Listen } from "./service-proxy/http-listener.ts";
import type { ListenAddress } from "./service-proxy/kube-proxy-configuration.ts";
import { ProxyMetrics } from "./service-proxy/proxy-metrics.ts";
import { FollowingPlanner } from "./service-proxy/replanning.ts";
import { SyncReporter } from "./service-proxy/reporting.ts";
import type { LogEvent } from "./service-proxy/reporting.ts";
import { describeFailed, observeSockets } from "./service-proxy/socket-report.ts";
import { StartGate } from "./service-proxy/start-gate.ts";
import { healthAnswers, metricsAnswers } from "./service-proxy/status-answers.ts";
import { SyncLoop } from "./service-proxy/sync-loop.ts";
import type { FlowReconciler, Planner, SyncState } from "./service-proxy/sync-loop.ts";
import { applyKernelSettings, describeRefusals, planKernelSettings } from "./service-proxy/sysctls.ts";

/** Time between looks at what the machine really has. */
const verifyMs = 3_600_000;

/** What the role is put together from, beside what it makes itself. */
export interface ServiceProxyParts {
  readonly createPlanner: (options: PlanOptions) => Planner;
  /** IPv6 is left out where the kernel has none. */
  readonly families: readonly IpFamily[];
  readonly dataplane: Dataplane;
  readonly flows: FlowReconciler;
  readonly sockets: SocketsView | undefined;
  /** What the dataplane would do, as text. */
  readonly render: (table: ServiceTable) => Promise<string>;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly listen: Listen;
  readonly log: (event: LogEvent) => void;
  /** The process cannot go on. */
  readonly onFatal: (reason: string) => void;
}

/** The role's state, a part of which `sallyport status` shows. */
export interface ServiceProxyState extends SyncState {
  readonly state: "starting" | "synced" | "failing";
  readonly node: string;
  readonly dataplane: string;
  readonly services: number;
  readonly endpointSlices: number;
  readonly resources: Readonly<Record<string, ResourceWatchState>>;
  readonly lostEvents: number;
}

/** Counts the connections that this machine has to an address. */
export type CountConnections = (address: CountedAddress) => Promise<ConnectionCount>;

export class ServiceProxyRole {
  readonly #config: ServiceProxyConfig;
  readonly #parts: ServiceProxyParts;
  readonly #reading: ServiceProxyReading;
  readonly #gate: StartGate;
  readonly #strict: StrictView | undefined;
  readonly #planner: FollowingPlanner;
  readonly #health: ProxyHealth;
  readonly #metrics: ProxyMetrics;
  readonly #healthCheckPorts: HealthCheckPorts;
  readonly #loop: SyncLoop;
  readonly #events: EventRecorder;
  readonly #taint: StartupTaint | undefined;
  readonly #lease: NodeLease | undefined;
  readonly #file: ConfigurationFile | undefined;
  readonly #servers: readonly KeptListener[];
  readonly #applied = new Set<IpFamily>();
  readonly #waiting: (() => void)[] = [];
  #hasStarted = false;

  constructor(config: ServiceProxyConfig, access: ApiserverAccess, parts: ServiceProxyParts) {
    this.#config = config;
    this.#parts = parts;
    const { clock, families } = parts;
    const { configuration } = config;
    this.#reading = this.#createReading(access);
    this.#gate = this.#createGate();
    this.#strict = this.#createStrictView();
    this.#planner = new FollowingPlanner({
      view: this.#strict,
      settings: { configuration, externalIps: config.externalIps },
      createPlanner: parts.createPlanner,
      machineAddresses,
    });
    this.#health = new ProxyHealth({ families, clock, timeoutMs: 2 * configuration.syncMs });
    this.#metrics = new ProxyMetrics({ startMs: clock.now(), pending: () => this.#reading.store.pending });
    this.#metrics.observeProcess(processUsage);
    if (parts.sockets !== undefined) observeSockets(this.#metrics.registry, parts.sockets);
    this.#events = new EventRecorder({
      api: access.api,
      clock,
      random: parts.random,
      controller: "sallyport.dev/service-proxy",
      instance: config.node,
    });
    this.#healthCheckPorts = this.#createHealthCheckPorts();
    this.#loop = this.#createLoop();
    this.#servers = [this.#createHealthServer(), this.#createMetricsServer()];
    this.#taint = this.#createTaint(access);
    this.#lease = this.#createLease(access);
    this.#file = this.#createFile();
  }

  get state(): ServiceProxyState {
    const { objects, sliceCount } = this.#reading.store;
    const sync = this.#loop.state;
    return {
      ...sync,
      state: sync.isSynced ? "synced" : sync.lastError === undefined ? "starting" : "failing",
      node: this.#config.node,
      dataplane: this.#config.dataplane,
      services: objects.services.size,
      endpointSlices: sliceCount,
      resources: this.#reading.state,
      lostEvents: this.#events.lost,
    };
  }

  /** Begins; the first rules come when the cluster is known. */
  async start(): Promise<void> {
    const { log, onFatal } = this.#parts;
    const { unused, bindAddressHardFail } = this.#config.configuration;
    if (unused.length > 0) log({ event: "configuration", message: `fields that have no meaning here: ${unused.join(", ")}` });
    await this.#setUpKernel();
    const listening = await Promise.all(this.#servers.map(async (server) => server.start()));
    if (bindAddressHardFail && listening.includes(false)) onFatal("bindAddressHardFail is set, and an address cannot be listened at");
    this.#reading.start();
    this.#lease?.start();
    this.#file?.start();
  }

  /** Ends, and leaves the rules in place. */
  async stop(): Promise<void> {
    this.#gate.close();
    this.#taint?.stop();
    this.#lease?.stop();
    this.#file?.stop();
    await this.#reading.stop();
    await this.#loop.stop();
    this.#health.close();
    await this.#healthCheckPorts.close();
    await Promise.all(this.#servers.map(async (server) => server.close()));
  }

  /** What the dataplane would do now, for each family: for `--dry-run`, in place of `start`. Resolves when the cluster is known. */
  async describe(): Promise<string> {
    const plan = await this.#planOnce();
    const texts = await Promise.all(this.#parts.families.map((family) => this.#parts.render(plan[family].table)));
    return texts.join("\n");
  }

  /** What a packet to a Service meets on this node: for `--trace`, in place of `start`. Resolves when the cluster is known. */
  async trace(target: TraceTarget, count?: CountConnections): Promise<string> {
    const plan = await this.#planOnce();
    const tables = this.#parts.families.map((family) => plan[family].table);
    const objects = this.#strict?.look(this.#reading.store.objects, new Set()).objects ?? this.#reading.store.objects;
    const connections = new Map<string, ConnectionCount>();
    // One after the other: each call reads the kernel's whole table.
    if (count !== undefined)
      for (const address of tracedAddresses(target, tables)) connections.set(connectionKey(address), await count(address));
    const ignored = this.#strict?.ignoredOf(`${target.namespace}/${target.name}`) ?? [];
    return traceService({ target, objects, tables, ignored, connections });
  }

  async #planOnce(): Promise<Plan> {
    this.#reading.start();
    while (!this.#hasStarted) await new Promise<void>((wake) => this.#waiting.push(wake));
    return this.#planner.plan(this.#reading.store.objects, "all");
  }

  #createReading(access: ApiserverAccess): ServiceProxyReading {
    const { clock, random, log } = this.#parts;
    // A kubeconfig's authority may not know the addresses behind the Service.
    const apiservers = access.isInCluster ? new ApiserverFollower(access.servers, (servers) => access.pool.setServers(servers)) : undefined;
    return new ServiceProxyReading({
      access,
      node: this.#config.node,
      proxyName: this.#config.proxyName,
      clock,
      random,
      onChange: () => {
        apiservers?.follow(this.#reading.store.objects.slices.get(apiserverService));
        if (this.#hasStarted) this.#loop.trigger();
        else this.#gate.look();
      },
      onTrouble: (resource, what) =>
        log({ event: what === undefined ? "reading" : "not-reading", resource, ...(what !== undefined && { what }) }),
    });
  }

  #createGate(): StartGate {
    return new StartGate({
      clock: this.#parts.clock,
      needsPodCidrs: this.#config.configuration.localTraffic.type === "nodeCidrs",
      isSynced: () => this.#reading.isSynced,
      node: () => this.#reading.store.node,
      onOpen: (missing) => {
        if (missing !== undefined) this.#parts.log({ event: "starting-without", what: missing });
        this.#hasStarted = true;
        for (const wake of this.#waiting.splice(0)) wake();
        if (this.#config.action.type === "run") this.#loop.start();
      },
      onImpossible: this.#parts.onFatal,
    });
  }

  #createLoop(): SyncLoop {
    const { families, dataplane, flows, clock, log } = this.#parts;
    const { syncMs, minSyncMs } = this.#config.configuration;
    const observer = new SyncReporter({
      health: this.#health,
      metrics: this.#metrics,
      healthCheckPorts: this.#healthCheckPorts,
      clock,
      log,
      onApplied: (family) => this.#noteApplied(family),
    });
    const source = this.#reading.store;
    return new SyncLoop({
      families,
      source,
      planner: this.#planner,
      dataplane,
      flows,
      observer,
      clock,
      minSyncMs,
      retryMs: syncMs,
      verifyMs,
    });
  }

  /** Pods may come once every family has its rules. */
  #noteApplied(family: IpFamily): void {
    const wasComplete = this.#applied.size === this.#parts.families.length;
    this.#applied.add(family);
    if (wasComplete || this.#applied.size < this.#parts.families.length) return;
    this.#parts.log({ event: "synced", node: this.#config.node, dataplane: this.#config.dataplane });
    void this.#taint?.remove();
  }

  #createHealthCheckPorts(): HealthCheckPorts {
    return new HealthCheckPorts({
      listen: this.#parts.listen,
      addresses: (family) => this.#planner.planOptions?.nodePortAddresses[family] ?? { type: "all" },
      isProxyHealthy: () => this.#health.isHealthy,
      onFailure: (check, message) => this.#tellPortFailure(check, message),
      clock: this.#parts.clock,
    });
  }

  #tellPortFailure(check: HealthCheck, message: string): void {
    const { namespace, name, port } = check;
    const service = `${namespace}/${name}`;
    this.#parts.log({ event: "health-check-port-failed", service, port, message });
    const note = `node ${this.#config.node} failed to start healthcheck "${service}" on port ${port}: ${message}`;
    this.#warn(service, { reason: "FailedToStartServiceHealthcheck", action: "Listen", note });
  }

  /** Writes a Warning at a Service (`namespace/name`). */
  #warn(service: string, event: { readonly reason: string; readonly action: string; readonly note: string }): void {
    const [namespace = "", name = ""] = service.split("/");
    const uid = this.#reading.store.objects.services.get(service)?.uid ?? "";
    void this.#events.record({ subject: { kind: "Service", namespace, name, uid }, type: "Warning", ...event });
  }

  #createStrictView(): StrictView | undefined {
    const { strict, node, action } = this.#config;
    if (strict === undefined) return undefined;
    const { clock, log } = this.#parts;
    const told = new IgnoredEndpoints({
      node,
      clock,
      log,
      warn: (service, note) => this.#warn(service, { reason: "EndpointsIgnored", action: "Plan", note }),
    });
    return new StrictView({
      ...strict,
      onIgnored: ({ namespace, name }, ignored) => {
        if (action.type === "run")
          told.tell(
            `${namespace}/${name}`,
            ignored.filter(({ kind }) => kind === "endpoint"),
          );
      },
    });
  }

  #createHealthServer(): KeptListener {
    const { clock } = this.#parts;
    const answers = healthAnswers({
      status: () => this.#health.status(),
      isNodeEligible: () => this.#reading.store.objects.node.isEligible,
      now: () => clock.now(),
      onAsked: (endpoint, status) => this.#metrics.asked(endpoint, status),
    });
    return this.#createServer("healthz", this.#config.configuration.healthz, answers);
  }

  #createMetricsServer(): KeptListener {
    const { configuration } = this.#config;
    const answers = metricsAnswers({ metrics: () => this.#metrics.registry.render(), mode: this.#config.dataplane, configuration });
    return this.#createServer("metrics", configuration.metrics, answers);
  }

  #createServer(name: string, target: ListenAddress, answer: Answer): KeptListener {
    const { listen, clock, log } = this.#parts;
    return new KeptListener({
      listen,
      target,
      answer,
      clock,
      onFailure: (message) => log({ event: "not-listening", server: name, message }),
    });
  }

  #createTaint(access: ApiserverAccess): StartupTaint | undefined {
    const { startupTaint: key, node } = this.#config;
    const { clock, log } = this.#parts;
    if (key === undefined) return undefined;
    return new StartupTaint({ api: access.api, node, key, clock, onFailure: (what) => log({ event: "taint-stays", what }) });
  }

  /** A proxy for the Services of one label is not what a node's Services depend on, and must not speak for the one that is. */
  #createLease(access: ApiserverAccess): NodeLease | undefined {
    const { node, proxyName } = this.#config;
    const { clock, log, sockets } = this.#parts;
    if (proxyName !== undefined) return undefined;
    return new NodeLease({
      api: access.api,
      node,
      clock,
      describe: () => {
        const { state, generation, lastError } = this.state;
        const failed = sockets === undefined ? undefined : describeFailed(sockets);
        const error = lastError ?? this.#file?.problem ?? failed;
        return { state, generation, lastError: error, nodeUid: this.#reading.store.node?.uid ?? "" };
      },
      onTrouble: (what) => log({ event: what === undefined ? "telling-state" : "not-telling-state", ...(what !== undefined && { what }) }),
    });
  }

  /** Who starts the process again gives it the new file. */
  #createFile(): ConfigurationFile | undefined {
    const { configurationFile: path, configuration: running } = this.#config;
    const { clock, log, onFatal } = this.#parts;
    if (path === undefined) return undefined;
    return new ConfigurationFile({
      path,
      running,
      read: (name) => readFile(name, "utf8"),
      clock,
      onChange: () => onFatal(`the configuration file ${path} has changed; a start anew takes it`),
      onProblem: (what) => log({ event: "configuration-file", message: what ?? "it is as what runs again" }),
    });
  }

  async #setUpKernel(): Promise<void> {
    if (this.#config.dataplane !== "nftables") return;
    const path = (name: string) => resolve(this.#config.sysctlFolder, name);
    const settings = planKernelSettings(this.#config.configuration.conntrack, availableParallelism());
    const outcomes = await applyKernelSettings(settings, {
      read: (name) => readFile(path(name), "utf8"),
      write: (name, text) => writeFile(path(name), text),
    });
    const refusals = describeRefusals(outcomes);
    if (refusals !== undefined) this.#parts.log({ event: "kernel-settings", message: refusals });
  }
}
