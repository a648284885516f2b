/** The role `load-balancer`: what is read of the cluster, who leads, what is done, and who can ask about it. */
import type { ApiserverAccess } from "./cluster-access.ts";
import { EventRecorder } from "./cluster/events.ts";
import { LeaderLease } from "./cluster/leader-lease.ts";
import { patchServiceStatus } from "./cluster/service-status.ts";
import type { Clock } from "./clock.ts";
import type { LoadBalancerConfig } from "./config/load-balancer-config.ts";
import { LoadBalancerMetrics } from "./load-balancer-metrics.ts";
import { LoadBalancerReading } from "./load-balancer-reading.ts";
import { ClusterStore } from "./load-balancer/cluster-store.ts";
import { LoadBalancerController } from "./load-balancer/controller.ts";
import { describePlan } from "./load-balancer/description.ts";
import type { ObservedLoadBalancer } from "./load-balancer/driver.ts";
import { createDriver } from "./load-balancer/drivers.ts";
import { ProviderGate } from "./load-balancer/gate.ts";
import type { LoadBalancerService } from "./load-balancer/objects.ts";
import { decideService } from "./load-balancer/plan.ts";
import { Reconciler } from "./load-balancer/reconciler.ts";
import type { ServiceEvent } from "./load-balancer/reconciler.ts";
import { TokenBucket } from "./load-balancer/token-bucket.ts";
import { KeptListener } from "./service-proxy/http-listener.ts";
import type { Answer, Listen } from "./service-proxy/http-listener.ts";

export interface LoadBalancerParts {
  /** The UID of the namespace kube-system. */
  readonly clusterId: string;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly listen: Listen;
  readonly log: (event: object) => void;
  /** The process cannot go on. */
  readonly onFatal: (reason: string) => void;
}

const leaseName = "sallyport-load-balancer";
const controllerName = "sallyport.dev/load-balancer";

export class LoadBalancerRole {
  readonly #config: LoadBalancerConfig;
  readonly #parts: LoadBalancerParts;
  readonly #store = new ClusterStore();
  readonly #chosen: ReturnType<typeof createDriver>;
  readonly #events: EventRecorder;
  readonly #lease: LeaderLease;
  readonly #gate: ProviderGate;
  readonly #metrics: LoadBalancerMetrics;
  readonly #controller: LoadBalancerController;
  readonly #reading: LoadBalancerReading;
  readonly #server: KeptListener;
  #orphans: readonly ObservedLoadBalancer[] = [];
  #whenSynced: () => void = () => undefined;

  constructor(config: LoadBalancerConfig, access: ApiserverAccess, parts: LoadBalancerParts) {
    this.#config = config;
    this.#parts = parts;
    const { clock, random } = parts;
    this.#chosen = createDriver(config.driver, config);
    this.#events = new EventRecorder({ api: access.api, clock, random, controller: controllerName, instance: config.identity });
    this.#lease = this.#createLease(access);
    const { perSecond, burst } = this.#chosen;
    this.#gate = new ProviderGate({ bucket: new TokenBucket({ clock, perSecond, burst }), isLeading: () => this.#lease.isHeld });
    this.#metrics = this.#createMetrics();
    this.#controller = this.#createController(access);
    this.#reading = this.#createReading(access);
    const onFailure = (message: string) => parts.log({ event: "not-listening", server: "metrics", message });
    this.#server = new KeptListener({ listen: parts.listen, target: config.listen, answer: this.#answer(), clock, onFailure });
  }

  /** Begins; nothing is written before the cluster is known and the Lease is this replica's. */
  async start(): Promise<void> {
    await this.#server.start();
    this.#reading.start();
    this.#lease.start();
  }

  /** Ends what runs, then gives the Lease back. */
  async stop(): Promise<void> {
    this.#gate.close();
    await this.#controller.stop();
    await this.#lease.stop();
    await this.#reading.stop();
    await this.#server.close();
  }

  /** What would be done now, in place of `start`. Resolves when the cluster is known. */
  async describe(): Promise<string> {
    const synced = new Promise<void>((resolve) => {
      this.#whenSynced = resolve;
    });
    this.#reading.start();
    await synced;
    const { classes, readiness } = this.#config;
    return describePlan({ view: this.#store, driver: this.#chosen.driver, classes, readiness, clusterId: this.#parts.clusterId });
  }

  #begin(): void {
    if (!this.#reading.isSynced) return;
    this.#whenSynced();
    if (this.#lease.isHeld) this.#controller.start();
  }

  #createLease({ api }: ApiserverAccess): LeaderLease {
    const { namespace, identity, driver } = this.#config;
    const { clock, random, log, onFatal } = this.#parts;
    return new LeaderLease({
      api,
      namespace,
      name: `${leaseName}-${driver.type}`,
      identity,
      clock,
      random,
      onLeading: () => {
        log({ event: "leading", identity });
        this.#begin();
      },
      onLost: () => onFatal("the Lease was not renewed in time, so that another replica may work now"),
      onTrouble: (what) => log({ event: what === undefined ? "asking-for-lease" : "no-lease", ...(what !== undefined && { what }) }),
    });
  }

  #createController(access: ApiserverAccess): LoadBalancerController {
    const { classes, readiness, workers } = this.#config;
    const { clusterId, clock, random, log } = this.#parts;
    const { driver } = this.#chosen;
    const shared = { driver, classes, readiness, clusterId, clock, isLeading: () => this.#lease.isHeld };
    const reconciler = new Reconciler({
      ...shared,
      view: this.#store,
      gate: this.#gate,
      patch: (target, patch) => patchServiceStatus(access.api, target, patch),
      tell: (service, event) => this.#tell(service, event),
      observer: this.#metrics,
    });
    return new LoadBalancerController({
      ...shared,
      store: this.#store,
      reconciler,
      workers,
      random,
      onOrphans: (orphans) => {
        this.#orphans = orphans;
        for (const { id, owner } of orphans) log({ event: "orphan", id, service: owner.serviceUid });
      },
    });
  }

  #createReading(access: ApiserverAccess): LoadBalancerReading {
    const { clock, random, log } = this.#parts;
    return new LoadBalancerReading({
      access,
      finalizer: this.#config.classes.loadBalancerClass,
      identity: this.#config.identity,
      clock,
      random,
      takers: this.#controller,
      onChange: () => this.#begin(),
      onTrouble: (resource, what) =>
        log({ event: what === undefined ? "reading" : "not-reading", resource, ...(what !== undefined && { what }) }),
    });
  }

  #createMetrics(): LoadBalancerMetrics {
    return new LoadBalancerMetrics(
      {
        queueDepth: () => this.#controller.depth,
        isLeading: () => this.#lease.isHeld,
        orphans: () => this.#orphans.length,
        lostEvents: () => this.#events.lost,
        services: () => this.#count(),
      },
      this.#parts.log,
    );
  }

  #count(): { readonly ready: number; readonly pending: number } {
    const wanted = [...this.#store.services.values()].filter((service) => decideService(service, this.#config.classes) === "wanted");
    const ready = wanted.filter(({ status }) => status.condition?.status === "True").length;
    return { ready, pending: wanted.length - ready };
  }

  #tell({ namespace, name, uid }: LoadBalancerService, { type, reason, note }: ServiceEvent): void {
    void this.#events.record({ subject: { kind: "Service", namespace, name, uid }, type, reason, action: reason, note });
  }

  #answer(): Answer {
    const contentType = "text/plain; charset=utf-8";
    return (path) => {
      switch (path) {
        case "/metrics":
          return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: this.#metrics.registry.render() };
        case "/healthz":
          return { status: 200, contentType, body: "ok" };
        default:
          return { status: 404, contentType, body: "404 page not found\n" };
      }
    };
  }
}
