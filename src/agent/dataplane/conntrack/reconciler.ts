/**
 * The kernel's conntrack table remembers where a UDP client was sent, for as long as the client goes on sending; rules are asked only for
 * the first packet. So a client may be sent to a pod that is gone, for ever. This part deletes such entries after the rules have changed.
 * What must stay true: only what is provably stale is deleted, so that clients of live endpoints keep theirs; what could not be read or
 * deleted is told, and stops nobody. It belongs beside rules in the kernel; a dataplane of sockets has no such entries.
 */
import type { Clock } from "#agent/clock.ts";
import type { IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { ConntrackEntry } from "./entry.ts";
import { listAttempts, maxDeletes, reconcilePeriodMs } from "./limits.ts";
import { createStaleRule, fingerprintUdp, type LocalAddress } from "./stale.ts";

/** The kernel's table, as far as it is needed. */
export interface ConntrackTable {
  /** Reads all UDP entries of a family; `take` gets undefined for one that could not be read. */
  list(family: IpFamily, take: (entry: ConntrackEntry | undefined) => void): Promise<ToolResult>;
  /** Deletes all entries that have an entry's original destination and reply source. */
  delete(family: IpFamily, entry: ConntrackEntry): Promise<DeleteResult>;
}

export type ToolResult = { readonly type: "done" } | { readonly type: "failed"; readonly message: string };
export type DeleteResult = { readonly type: "deleted"; readonly entries: number } | { readonly type: "failed"; readonly message: string };

/** What one run did: the numbers are for metrics. */
export type ReconcileOutcome =
  /** Nothing changed since the last run that did all it had to do. */
  | { readonly type: "unchanged" }
  | ({ readonly type: "reconciled" } & ReconcileCounts)
  /** Something is left to do for the next run; `message` says what went wrong. */
  | ({ readonly type: "failed"; readonly message: string } & ReconcileCounts);

export interface ReconcileCounts {
  readonly durationMs: number;
  /** UDP entries of the family. */
  readonly listed: number;
  /** Lines that are no entry we know. */
  readonly unreadable: number;
  readonly deleted: number;
}

export interface ReconcilerOptions {
  readonly table: ConntrackTable;
  readonly clock: Clock;
  /** Whether an address is the machine's own: node ports may be served at all of them. */
  readonly isLocalAddress: LocalAddress;
  /** Told of each run by the clock, whose outcome nobody else hears of. */
  readonly onPeriodic: (outcome: ReconcileOutcome) => void;
}

/** Reconciles one family after each change, and by the clock. */
export class ConntrackReconciler {
  readonly #options: ReconcilerOptions;
  #reconciled: string | undefined;
  #cancelTimer: () => void = () => undefined;
  #isStopped = false;
  /** Runs wait for each other. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** To be called after each table that was applied: does nothing unless UDP addresses or endpoints changed, or the last run failed. */
  async afterApply(table: ServiceTable): Promise<ReconcileOutcome> {
    return this.#inTurn(async () => (this.#reconciled === fingerprintUdp(table) ? { type: "unchanged" } : this.#reconcile(table)));
  }

  /** Waits for a run that goes on, and starts no other by the clock. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer();
    await this.#busy;
  }

  async #reconcile(table: ServiceTable): Promise<ReconcileOutcome> {
    const { clock } = this.#options;
    const startedAtMs = clock.now();
    const run = new Run(table, this.#options);
    const message = await run.perform();
    const counts = { ...run.counts(), durationMs: clock.now() - startedAtMs };
    this.#reconciled = message === undefined ? fingerprintUdp(table) : undefined;
    this.#schedule(table);
    return message === undefined ? { type: "reconciled", ...counts } : { type: "failed", message, ...counts };
  }

  #schedule(table: ServiceTable): void {
    this.#cancelTimer();
    if (this.#isStopped) return;
    this.#cancelTimer = this.#options.clock.after(reconcilePeriodMs, () => {
      void this.#inTurn(() => this.#reconcile(table)).then(this.#options.onPeriodic);
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#busy.then(work);
    this.#busy = turn.catch(() => undefined);
    return turn;
  }
}

class Run {
  readonly #family: IpFamily;
  readonly #table: ConntrackTable;
  readonly #rule: ReturnType<typeof createStaleRule>;
  /** One stale entry for each original destination and reply source: all that share those are stale for the same reason. */
  readonly #stale = new Map<string, ConntrackEntry>();
  #listed = 0;
  #unreadable = 0;
  #deleted = 0;

  constructor(table: ServiceTable, { table: conntrack, isLocalAddress }: ReconcilerOptions) {
    this.#family = table.family;
    this.#table = conntrack;
    this.#rule = createStaleRule(table, isLocalAddress);
  }

  counts(): Omit<ReconcileCounts, "durationMs"> {
    return { listed: this.#listed, unreadable: this.#unreadable, deleted: this.#deleted };
  }

  /** Returns what went wrong, or undefined. What a listing that broke off had read is used all the same: each entry speaks for itself. */
  async perform(): Promise<string | undefined> {
    if (this.#rule.isEmpty) return undefined;
    const listing = await this.#list();
    const deleting = await this.#deleteStale();
    return listing ?? deleting;
  }

  /** The kernel interrupts a listing while the table is busy; then it is asked again. */
  async #list(): Promise<string | undefined> {
    let message = "";
    for (let attempt = 0; attempt < listAttempts; attempt++) {
      this.#listed = 0;
      this.#unreadable = 0;
      const result = await this.#table.list(this.#family, (entry) => this.#take(entry));
      if (result.type === "done") return undefined;
      ({ message } = result);
    }
    return message;
  }

  #take(entry: ConntrackEntry | undefined): void {
    this.#listed += 1;
    if (entry === undefined) this.#unreadable += 1;
    else if (this.#rule.isStale(entry)) this.#stale.set(groupKey(entry), entry);
  }

  async #deleteStale(): Promise<string | undefined> {
    let message: string | undefined;
    for (const entry of [...this.#stale.values()].slice(0, maxDeletes)) {
      const result = await this.#table.delete(this.#family, entry);
      if (result.type === "deleted") this.#deleted += result.entries;
      else ({ message } = result);
    }
    if (this.#stale.size > maxDeletes) return `${this.#stale.size - maxDeletes} more groups of stale entries wait for the next run`;
    return message;
  }
}

function groupKey({ destination, destinationPort, replySource, replySourcePort }: ConntrackEntry): string {
  return `${destination} ${destinationPort} ${replySource} ${replySourcePort}`;
}
