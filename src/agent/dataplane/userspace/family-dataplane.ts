/** The userspace dataplane of one IP family: the frontends of its last table and the sockets that stand for them. */
import { setImmediate } from "node:timers/promises";
import type {
  ApplyOutcome,
  FailedFrontend,
  FrontendCounts,
  FrontendGroup,
  IpFamily,
  ServicePort,
  ServiceTable,
} from "#agent/dataplane/dataplane.ts";
import { serviceText } from "./description.ts";
import { FrontendTotals, groupOf } from "./frontend-totals.ts";
import { type Frontend, type FrontendKind, planFrontends, type RefusedFrontend } from "./frontends.ts";
import { bindRetryMs, parallelBinds } from "./limits.ts";
import type { ListenerServices } from "./listener.ts";
import { Router } from "./router.ts";
import { FrontendSlot, type FrontendState } from "./slot.ts";
import type { UserspaceOptions } from "./options.ts";

/** One frontend as it stands, for metrics, events and people. */
export interface FrontendReport {
  readonly kind: FrontendKind;
  readonly address: string;
  readonly port: number;
  readonly servicePort: ServicePort;
  readonly state: FrontendState;
  /** undefined where no socket can serve it. */
  readonly counts: FrontendCounts | undefined;
}

export class FamilyDataplane {
  readonly #options: UserspaceOptions;
  readonly #services: ListenerServices;
  readonly #slots = new Map<string, FrontendSlot>();
  readonly #totals = new FrontendTotals();
  #refused: readonly RefusedFrontend[] = [];
  #serviceCidrs: readonly string[] = [];
  #isClosed = false;
  /** undefined: no frontend has failed. */
  #cancelRetry: (() => void) | undefined;
  /** Applying and retrying wait for each other. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: UserspaceOptions) {
    this.#options = options;
    const { clock, sockets, limits, budgets, random, isOrdinary } = options;
    const isFrontend = (key: string): boolean => this.#slots.get(key)?.isListening === true;
    const router = new Router({ clock, random, affinityClients: limits.affinityClients, isOrdinary, isFrontend });
    this.#services = { clock, sockets, limits, router, ...budgets, open: new Set() };
  }

  /** `retry`: whether frontends that failed and are as they were are tried again now, or when their time comes. */
  async apply(table: ServiceTable, retry: "now" | "later"): Promise<ApplyOutcome> {
    return this.#inTurn(() => this.#apply(table, retry));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    await this.#busy;
    for (const slot of this.#slots.values()) slot.close();
    this.#slots.clear();
    for (const end of [...this.#services.open]) end();
  }

  frontends(): readonly FrontendReport[] {
    const served = [...this.#slots.values()].map(({ frontend: { kind, address, port, servicePort }, state, counters }): FrontendReport => ({
      kind,
      address,
      port,
      servicePort,
      state,
      counts: counters.counts(),
    }));
    const refused = this.#refused.map(({ reason, ...frontend }): FrontendReport => ({
      ...frontend,
      state: { type: "failed", reason },
      counts: undefined,
    }));
    return [...served, ...refused];
  }

  groups(family: IpFamily): readonly FrontendGroup[] {
    return this.#totals.groups(family, this.#slots.values(), this.#refused);
  }

  failed(): readonly FailedFrontend[] {
    const unopened = [...this.#slots.values()].flatMap(({ frontend, state }) =>
      state.type === "failed" ? [{ ...frontend, reason: state.reason }] : [],
    );
    return [...unopened, ...this.#refused].map((frontend) => ({
      ...groupOf(frontend),
      family: frontend.servicePort.family,
      address: frontend.address,
      port: frontend.port,
      service: serviceText(frontend.servicePort),
      reason: frontend.reason,
    }));
  }

  async #apply(table: ServiceTable, retry: "now" | "later"): Promise<ApplyOutcome> {
    if (this.#isClosed) return { type: "failed", message: "the dataplane is closed" };
    const interfaces = this.#options.interfaces();
    const { frontends, refused } = planFrontends(table, this.#options.scope, interfaces, this.#options.isOrdinary);
    this.#services.router.update(table, interfaces);
    this.#serviceCidrs = table.serviceCidrs;
    this.#refused = refused;
    let changes = 0;
    for (const [key, slot] of this.#slots) {
      if (frontends.has(key)) continue;
      slot.close();
      this.#slots.delete(key);
      this.#totals.leave(slot.frontend, slot.counters);
      changes += 1;
    }
    this.#totals.settle();
    for (const frontend of frontends.values()) if (this.#place(frontend)) changes += 1;
    await this.#openAll((slot) => retry === "now" || !slot.hasFailed);
    return { type: "applied", changes };
  }

  /** Gives a frontend its slot; says whether it is another one than before. */
  #place(frontend: Frontend): boolean {
    const slot = this.#slots.get(frontend.key);
    if (slot === undefined) {
      this.#slots.set(frontend.key, new FrontendSlot(frontend, this.#services));
      return true;
    }
    const isChanged = !isSameFrontend(slot.frontend, frontend);
    if (isChanged) slot.update(frontend);
    return isChanged;
  }

  /** Opens what should listen and does not, with turns of the event loop between, so that traffic does not wait for ten thousand sockets. */
  async #openAll(isDue: (slot: FrontendSlot) => boolean): Promise<void> {
    const due = [...this.#slots.values()].filter((slot) => slot.isWaiting && isDue(slot));
    for (let start = 0; start < due.length; start += parallelBinds) {
      await Promise.all(due.slice(start, start + parallelBinds).map((slot) => slot.open(this.#serviceCidrs)));
      await setImmediate();
    }
    const failed = due.filter((slot) => slot.hasFailed);
    for (const { frontend } of failed) this.#totals.bindFailed(frontend);
    if (failed.length > 0) this.#retryLater();
  }

  /** What comes first sets the time: tables that come every second put it off no further. */
  #retryLater(): void {
    if (this.#isClosed || this.#cancelRetry !== undefined) return;
    this.#cancelRetry = this.#options.clock.after(bindRetryMs, () => {
      this.#cancelRetry = undefined;
      void this.#inTurn(() => this.#openAll(() => true));
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#busy.then(work);
    this.#busy = turn.catch(() => undefined);
    return turn;
  }
}

/** A table is made anew each time, and most of it is as before. */
function isSameFrontend(one: Frontend, other: Frontend): boolean {
  if (one.kind !== other.kind) return false;
  return one.servicePort === other.servicePort || JSON.stringify(one.servicePort) === JSON.stringify(other.servicePort);
}
