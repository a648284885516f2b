/** Events (events.k8s.io/v1): what the agent tells the people who look at an object with `kubectl describe`. */
import type { Clock } from "#agent/clock.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";
import { maxEventNote, maxEventsInFlight } from "./limits.ts";
import { toMicroTime } from "./micro-time.ts";

/** What an event is about. */
export interface EventSubject {
  readonly kind: "Service" | "Node";
  /** Empty for a Node, whose events are in the namespace default. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface ClusterEvent {
  readonly subject: EventSubject;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  /** What was being done, in CamelCase. */
  readonly action: string;
  readonly note: string;
}

export interface EventRecorderOptions {
  readonly api: ClusterApi;
  readonly clock: Clock;
  /** 0 to 1, for names. */
  readonly random: () => number;
  /** `sallyport.dev/…`: which program tells. */
  readonly controller: string;
  /** Which of them: the node's name. */
  readonly instance: string;
}

/** Writes events as well as it can: one that cannot be written is lost, because nothing may wait for it. */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  #inFlight = 0;
  #lost = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** How many could not be written. */
  get lost(): number {
    return this.#lost;
  }

  /** Never rejects. */
  async record(event: ClusterEvent): Promise<void> {
    if (this.#inFlight >= maxEventsInFlight) {
      this.#lost += 1;
      return;
    }
    this.#inFlight += 1;
    const namespace = event.subject.namespace || "default";
    const answer = await this.#options.api
      .create(`/apis/events.k8s.io/v1/namespaces/${namespace}/events`, this.#toObject(event, namespace))
      .catch(() => undefined); // unreachable: the event is lost
    this.#inFlight -= 1;
    if (answer?.type !== "object") this.#lost += 1;
  }

  #toObject({ subject, type, reason, action, note }: ClusterEvent, namespace: string): JsonObject {
    const { clock, random, controller, instance } = this.#options;
    const suffix = Math.floor(random() * 2 ** 48)
      .toString(16)
      .padStart(12, "0");
    const { kind, name, uid } = subject;
    return {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: `${name}.${suffix}`, namespace },
      eventTime: toMicroTime(clock.now()),
      reportingController: controller,
      reportingInstance: instance,
      type,
      reason,
      action,
      note: note.slice(0, maxEventNote),
      regarding: { apiVersion: "v1", kind, name, uid, ...(subject.namespace !== "" && { namespace: subject.namespace }) },
    };
  }
}
