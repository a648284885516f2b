/** One apiserver of the pool: its connections, its health, and what runs on it. */
import type { Duplex } from "node:stream";
import type { Clock } from "#agent/clock.ts";
import { Connections } from "./connections.ts";
import type { ConnectionOptions } from "./connections.ts";
import { Exchange } from "./exchange.ts";
import type { Attempt, AttemptRequest } from "./exchange.ts";
import { isAvailable, isEjected, nextHealth, share, unprovenHealth } from "./health.ts";
import type { Health, HealthEvent } from "./health.ts";
import { deadServerMs, minProbeGapMs, probeIntervalMs, watchDrainMs } from "./limits.ts";
import type { Probe } from "./probe.ts";
import { hashText } from "./selection.ts";
import type { Candidate } from "./selection.ts";
import type { ApiserverAddress, ApiserverState } from "./upstream.ts";

export interface ApiserverOptions {
  readonly connection: ConnectionOptions;
  readonly probe: Probe;
  readonly clock: Clock;
  readonly random: () => number;
}

/** An upgraded connection; sockets count what they read. */
export type UpgradedSocket = Duplex & { readonly bytesRead?: number };

/** An attempt and whether it ran on a connection that had been used before. */
export interface RunAttempt {
  readonly attempt: Attempt;
  readonly reused: boolean;
}

export class Apiserver implements Candidate {
  readonly address: ApiserverAddress;
  readonly seed: number;
  readonly #options: ApiserverOptions;
  readonly #connections: Connections;
  readonly #exchanges = new Set<Exchange>();
  readonly #drains = new Set<() => void>();
  readonly #upgraded = new Map<UpgradedSocket, { bytesRead: number | undefined; heardMs: number }>();
  readonly #bornMs: number;
  #health: Health = unprovenHealth;
  #lastFailure: string | undefined;
  #nextProbe: (() => void) | undefined;
  #probing: { readonly type: "asking" } | { readonly type: "waiting"; readonly sinceMs: number } | undefined;
  #closed = false;

  constructor(options: ApiserverOptions) {
    this.#options = options;
    this.address = options.connection.address;
    this.seed = hashText(this.address.url);
    this.#connections = new Connections(options.connection);
    options.probe.onLost = () => {
      this.note({ type: "hungUp" }, "it ended a connection");
      this.#probeSoon();
    };
    this.#bornMs = options.clock.now();
  }

  get available(): boolean {
    return isAvailable(this.#health, this.#options.clock.now());
  }

  get ejected(): boolean {
    return isEjected(this.#health, this.#options.clock.now());
  }

  get lastResort(): boolean {
    return this.address.lastResort ?? false;
  }

  get share(): number {
    return share(this.#health, this.#options.clock.now());
  }

  get load(): number {
    return this.#exchanges.size + this.#upgraded.size;
  }

  /** Makes one attempt; never rejects. */
  async run(request: AttemptRequest, fresh: boolean): Promise<RunAttempt> {
    const connection = this.#connections.acquire(fresh);
    const reused = connection.served > 1;
    const exchange = new Exchange(request, () => {
      this.#exchanges.delete(exchange);
      this.#connections.release(connection);
      if (exchange.brokeOff) this.#probeSoon();
    });
    this.#exchanges.add(exchange);
    exchange.start(connection);
    return { attempt: await exchange.attempt, reused };
  }

  /** Counts an upgraded connection while it is open, and ends it when the server is dead and it is silent too. */
  watchUpgraded(socket: UpgradedSocket): void {
    if (socket.destroyed) return;
    this.#upgraded.set(socket, { bytesRead: socket.bytesRead, heardMs: this.#options.clock.now() });
    socket.once("close", () => this.#upgraded.delete(socket));
  }

  /** Takes note of what happened; a server that falls loses its watches, not its other requests. */
  note(event: HealthEvent, reason?: string): void {
    const before = this.#health.probed;
    this.#health = nextHealth(this.#health, event, this.#options.clock.now());
    if (reason !== undefined) this.#lastFailure = reason;
    if (before !== "notReady" && this.#health.probed === "notReady") this.#drainWatches();
    if (event.type === "failed") this.#probeSoon();
  }

  startProbing(): void {
    if (this.#nextProbe !== undefined || this.#closed) return;
    this.#nextProbe = () => undefined;
    void this.#probe();
  }

  state(): ApiserverState {
    const exchanges = [...this.#exchanges];
    return {
      url: this.address.url,
      health: this.#health.probed === "ready" && this.ejected ? "ejected" : this.#health.probed,
      inFlight: this.load,
      watches: exchanges.filter((exchange) => exchange.body?.endsEarly).length,
      connections: this.#connections.count + this.#upgraded.size,
      lastAnswerMs: this.#health.lastAnswerMs,
      lastFailure: this.available ? undefined : this.#lastFailure,
    };
  }

  /** Takes no more requests: watches move away, the rest finishes. */
  async retire(): Promise<void> {
    this.#drainWatches();
    this.#connections.retire();
    await this.#stopProbing();
  }

  async close(): Promise<void> {
    await this.#stopProbing();
    for (const cancel of this.#drains) cancel();
    const gone = new Error("the agent is stopping");
    for (const exchange of this.#exchanges) {
      if (exchange.body === undefined) exchange.giveUp(gone);
      else exchange.body.destroy(gone);
    }
    for (const socket of this.#upgraded.keys()) socket.destroy();
    await this.#connections.close();
  }

  async #stopProbing(): Promise<void> {
    this.#closed = true;
    this.#nextProbe?.();
    await this.#options.probe.close();
  }

  /**
   * Asks at once, because a connection has ended: a server that has ended must be known as such before it listens again. While it starts,
   * it answers with 403 and 410 where it would not later.
   */
  #probeSoon(): void {
    if (this.#closed || this.#probing?.type !== "waiting") return;
    const sinceMs = this.#options.clock.now() - this.#probing.sinceMs;
    this.#probing = { type: "asking" };
    this.#nextProbe?.();
    if (sinceMs >= minProbeGapMs) void this.#probe();
    else this.#nextProbe = this.#options.clock.after(minProbeGapMs - sinceMs, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    this.#probing = { type: "asking" };
    const outcome = await this.#options.probe.ask();
    if (this.#closed) return;
    this.note(
      outcome === "refused" ? { type: "refused" } : { type: "probed", outcome },
      outcome === "ready" ? undefined : `probe: ${outcome}`,
    );
    if (outcome === "unreachable" || outcome === "refused") this.#giveUpWhenDead();
    this.#probing = { type: "waiting", sinceMs: this.#options.clock.now() };
    const wait = probeIntervalMs * (0.9 + 0.2 * this.#options.random());
    this.#nextProbe = this.#options.clock.after(wait, () => void this.#probe());
  }

  /** A silently dead server holds requests until TCP gives up, which takes a quarter of an hour. */
  #giveUpWhenDead(): void {
    const nowMs = this.#options.clock.now();
    const dead = nowMs - (this.#health.lastAnswerMs ?? this.#bornMs) >= deadServerMs;
    for (const [socket, heard] of this.#upgraded) {
      if (socket.bytesRead !== heard.bytesRead) this.#upgraded.set(socket, { bytesRead: socket.bytesRead, heardMs: nowMs });
      else if (dead && nowMs - heard.heardMs >= deadServerMs) socket.destroy();
    }
    if (!dead) return;
    const reason = new Error("the apiserver has gone silent");
    for (const exchange of this.#exchanges) exchange.giveUp(reason);
  }

  #drainWatches(): void {
    this.#connections.dropIdle();
    for (const { body } of this.#exchanges) {
      if (body === undefined || !body.endsEarly) continue;
      const cancel = this.#options.clock.after(watchDrainMs * this.#options.random(), () => {
        this.#drains.delete(cancel);
        body.endEarly(this.#options.clock);
      });
      this.#drains.add(cancel);
    }
  }
}
