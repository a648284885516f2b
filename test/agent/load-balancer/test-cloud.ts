/** A provider with an API of small steps, each of which a test may let fail; and a driver for it. */
import { ProviderError } from "#agent/load-balancer/driver.ts";
import type { ProviderGate } from "#agent/load-balancer/gate.ts";
import type { EnsureOutcome, LoadBalancerDriver, ObservedLoadBalancer, Owner, WantedLoadBalancer } from "#agent/load-balancer/driver.ts";

interface CloudBalancer {
  readonly id: string;
  readonly owner: Owner;
  readonly listeners: Set<string>;
  targets: string;
}

/** Called before each call takes effect, with its name; may throw. */
export type Fault = (call: string) => void;

export class TestCloud {
  readonly balancers = new Map<string, CloudBalancer>();
  readonly calls: string[] = [];
  fault: Fault = () => undefined;
  #nextId = 1;

  get writes(): number {
    return this.calls.filter((call) => !call.startsWith("list")).length;
  }

  call<Answer>(name: string, act: () => Answer): Answer {
    this.calls.push(name);
    this.fault(name);
    return act();
  }

  list(): readonly CloudBalancer[] {
    return this.call("list", () => [...this.balancers.values()]);
  }

  create(owner: Owner): CloudBalancer {
    return this.call("create", () => {
      const balancer: CloudBalancer = { id: `lb-${this.#nextId++}`, owner, listeners: new Set(), targets: "" };
      this.balancers.set(balancer.id, balancer);
      return balancer;
    });
  }

  setTargets({ id }: CloudBalancer, targets: string): void {
    this.call("setTargets", () => {
      const balancer = this.balancers.get(id);
      if (balancer !== undefined) balancer.targets = targets;
    });
  }

  addListener({ id }: CloudBalancer, listener: string): void {
    this.call(`addListener ${listener}`, () => this.balancers.get(id)?.listeners.add(listener));
  }

  removeListener({ id }: CloudBalancer, listener: string): void {
    this.call(`removeListener ${listener}`, () => this.balancers.get(id)?.listeners.delete(listener));
  }

  remove({ id }: CloudBalancer): void {
    this.call("remove", () => {
      if ((this.balancers.get(id)?.listeners.size ?? 0) > 0) throw new ProviderError("the load balancer still has listeners");
      this.balancers.delete(id);
    });
  }
}

/** The annotation that the driver knows: small or large. */
export const sizeAnnotation = "sallyport.dev/test-size";

export class TestCloudDriver implements LoadBalancerDriver {
  readonly name = "test-cloud";
  readonly #cloud: TestCloud;
  readonly #gate: Pick<ProviderGate, "pass">;

  constructor(cloud: TestCloud, gate: Pick<ProviderGate, "pass">) {
    this.#cloud = cloud;
    this.#gate = gate;
  }

  async observe(owner: Owner): Promise<ObservedLoadBalancer | undefined> {
    return this.#find(owner);
  }

  async ensure({ owner, spec, ports, nodes }: WantedLoadBalancer): Promise<EnsureOutcome> {
    const size = spec.annotations[sizeAnnotation];
    if (size !== undefined && size !== "small" && size !== "large")
      return { type: "refused", reason: "InvalidAnnotation", message: `the annotation ${sizeAnnotation} is small or large`, ingress: [] };
    const cloud = this.#cloud;
    const balancer = (await this.#find(owner)) ?? (await this.#do(() => cloud.create(owner)));
    const wanted = new Set(ports.map(({ protocol, port }) => `${protocol}/${port}`));
    for (const listener of balancer.listeners) if (!wanted.has(listener)) await this.#do(() => cloud.removeListener(balancer, listener));
    for (const listener of wanted) if (!balancer.listeners.has(listener)) await this.#do(() => cloud.addListener(balancer, listener));
    const targets = nodes.map(({ providerId }) => providerId).join(" ");
    if (balancer.targets !== targets) await this.#do(() => cloud.setTargets(balancer, targets));
    return { type: "ensured", ingress: [{ hostname: `${balancer.id}.cloud.example` }], note: undefined };
  }

  async delete(owner: Owner): Promise<void> {
    const balancer = await this.#find(owner);
    if (balancer === undefined) return;
    for (const listener of balancer.listeners) await this.#do(() => this.#cloud.removeListener(balancer, listener));
    await this.#do(() => this.#cloud.remove(balancer));
  }

  async list(clusterId: string): Promise<readonly ObservedLoadBalancer[]> {
    return this.#cloud.list().filter(({ owner }) => owner.clusterId === clusterId);
  }

  follow(): readonly string[] {
    return [];
  }

  async #find(owner: Owner): Promise<CloudBalancer | undefined> {
    return this.#cloud.list().find(({ owner: of }) => of.clusterId === owner.clusterId && of.serviceUid === owner.serviceUid);
  }

  /** A call that changes something. */
  #do<Answer>(call: () => Answer): Promise<Answer> {
    return this.#gate.pass(async () => call());
  }
}
