/**
 * Which of several replicas works: the one whose name is in a Lease (coordination.k8s.io/v1), as client-go's leader election does it.
 *
 * What must stay true: no two replicas believe that they lead at the same moment, whatever their clocks say and however long one of them
 * stood still. So a holder stops believing before anybody may take the Lease, counted from before its last renewal was sent; and a
 * candidate waits the whole time of the Lease, counted by its own clock from when it saw the last renewal.
 */
import type { Clock } from "#agent/clock.ts";
import { objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ApiAnswer, ClusterApi } from "./api.ts";
import { leaderLeaseSeconds, leaderRenewDeadlineMs, leaderRetryMs } from "./limits.ts";
import { toMicroTime } from "./micro-time.ts";

export interface LeaderLeaseOptions {
  readonly api: ClusterApi;
  readonly namespace: string;
  readonly name: string;
  /** This replica; no other has the same. */
  readonly identity: string;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly onLeading: () => void;
  /** The Lease was this replica's, and may be another's from now on. It is not asked for again. */
  readonly onLost: () => void;
  /** Told, in a sentence, when the Lease cannot be asked for; undefined when it can again. */
  readonly onTrouble: (what: string | undefined) => void;
}

/** Who held it at which renewal, and when that was seen here. */
interface Sighting {
  readonly version: string;
  readonly seenMs: number;
}

export class LeaderLease {
  readonly #options: LeaderLeaseOptions;
  #renewedMs: number | undefined;
  #sighting: Sighting | undefined;
  #isOver = false;
  #trouble: string | undefined;
  #attempt: Promise<void> = Promise.resolve();
  #cancelNext: () => void = () => undefined;
  #cancelDeadline: () => void = () => undefined;

  constructor(options: LeaderLeaseOptions) {
    this.#options = options;
  }

  /** Whether this replica may write now. */
  get isHeld(): boolean {
    return !this.#isOver && this.#renewedMs !== undefined && this.#options.clock.now() - this.#renewedMs < leaderRenewDeadlineMs;
  }

  /** Asks for the Lease until it is there, and then renews it. */
  start(): void {
    this.#attempt = this.#look();
  }

  /** Gives the Lease back, so that the next one need not wait. Whoever calls has stopped writing. */
  async stop(): Promise<void> {
    const wasHeld = this.isHeld;
    this.#isOver = true;
    this.#cancelNext();
    this.#cancelDeadline();
    await this.#attempt;
    if (wasHeld) await this.#release().catch(() => undefined); // it runs out by itself
  }

  async #look(): Promise<void> {
    const { clock, random } = this.#options;
    const beganMs = clock.now();
    const outcome = await this.#try().catch((thrown: unknown) => (thrown instanceof Error ? thrown.message : "an unknown failure"));
    if (this.#isOver) return;
    if (outcome === "held") this.#note(beganMs);
    this.#tell(outcome === "held" || outcome === "another's" ? undefined : outcome);
    this.#cancelNext = clock.after(leaderRetryMs * (1 + 0.2 * random()), () => {
      this.#attempt = this.#look();
    });
  }

  /** The renewal counts from before it was sent. */
  #note(beganMs: number): void {
    const { clock, onLeading } = this.#options;
    const isFirst = this.#renewedMs === undefined;
    this.#renewedMs = beganMs;
    this.#cancelDeadline();
    // A timer besides the clock: the time of day may be set back.
    this.#cancelDeadline = clock.after(Math.max(0, beganMs + leaderRenewDeadlineMs - clock.now()), () => this.#lose());
    if (isFirst && this.isHeld) onLeading();
  }

  #lose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelNext();
    this.#options.onLost();
  }

  /** `held`, `another's`, or what went wrong. */
  async #try(): Promise<string> {
    const { api, clock, identity } = this.#options;
    const found = await api.get(this.#target);
    if (found.type === "refused") return found.status === 404 ? this.#create() : refusal("shows", found);
    const spec = objectField(found.object, "spec");
    const holder = textField(spec, "holderIdentity");
    const version = `${holder} ${textField(spec, "renewTime")} ${String(spec["leaseTransitions"])}`;
    if (this.#sighting?.version !== version) this.#sighting = { version, seenMs: clock.now() };
    const seconds = typeof spec["leaseDurationSeconds"] === "number" ? spec["leaseDurationSeconds"] : leaderLeaseSeconds;
    const isFree = holder === "" || clock.now() - this.#sighting.seenMs >= seconds * 1000;
    if (holder !== identity && this.#renewedMs !== undefined) {
      this.#lose();
      return "another's";
    }
    if (holder !== identity && !isFree) return "another's";
    return this.#update(found.object, holder === identity);
  }

  async #create(): Promise<string> {
    const { api, namespace, name } = this.#options;
    const metadata = { name, namespace };
    const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec: this.#spec({}, false) };
    return toOutcome(await api.create(this.#collection, lease));
  }

  /** The object's resourceVersion goes back with it: of two that try at once, one is refused. */
  async #update(lease: JsonObject, isRenewal: boolean): Promise<string> {
    return toOutcome(await this.#options.api.update(this.#target, { ...lease, spec: this.#spec(objectField(lease, "spec"), isRenewal) }));
  }

  #spec(before: JsonObject, isRenewal: boolean): JsonObject {
    const now = toMicroTime(this.#options.clock.now());
    const transitions = typeof before["leaseTransitions"] === "number" ? before["leaseTransitions"] : 0;
    return {
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: leaderLeaseSeconds,
      acquireTime: isRenewal ? before["acquireTime"] : now,
      renewTime: now,
      leaseTransitions: isRenewal || before["renewTime"] === undefined ? transitions : transitions + 1,
    };
  }

  async #release(): Promise<void> {
    const { api, identity, clock } = this.#options;
    const found = await api.get(this.#target);
    if (found.type === "refused") return;
    const spec = objectField(found.object, "spec");
    if (textField(spec, "holderIdentity") !== identity) return;
    const now = toMicroTime(clock.now());
    await api.update(this.#target, { ...found.object, spec: { ...spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: now } });
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`;
  }

  get #target(): string {
    return `${this.#collection}/${this.#options.name}`;
  }

  #tell(trouble: string | undefined): void {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.onTrouble(trouble);
  }
}

/** Somebody was faster (409): it is his for now. */
function toOutcome(answer: ApiAnswer): string {
  if (answer.type === "object") return "held";
  return answer.status === 409 ? "another's" : refusal("takes", answer);
}

function refusal(verb: "shows" | "takes", { status, reason }: Extract<ApiAnswer, { readonly type: "refused" }>): string {
  return `the apiserver ${verb} no Lease (${status} ${reason})`;
}
