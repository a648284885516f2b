/**
 * The agent's way to the gateway: two lanes for this replica, interactive and bulk, each kept up by itself. A lane that ends is
 * opened again at once, then with growing pauses of random length, so that many agents that lost the same gateway do not return together.
 */
import type { OpenPayload } from "#core/tunnel/payload.ts";
import { Lane } from "./lane.ts";
import type { JoinIdentity, LaneEnd, LaneKind, LaneTarget } from "./lane.ts";
import type { TunnelStream } from "./tunnel-stream.ts";

/** First and longest pause between attempts; full jitter lies under them. */
const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** A lane that lived this long was healthy: pauses start small again. */
const healthyMs = 60_000;

export interface TunnelOptions {
  readonly target: LaneTarget;
  readonly identity: JoinIdentity;
  readonly onStream: (open: OpenPayload, stream: TunnelStream) => void;
  readonly onChange: (state: TunnelState) => void;
  /** 0 to 1, for the jitter. */
  readonly random: () => number;
}

/** What the tunnel tells of itself. */
export interface TunnelState {
  readonly lanes: Readonly<Record<LaneKind, "connecting" | "joined">>;
  readonly lastEnd: LaneEnd | undefined;
}

export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #lanes = new Map<LaneKind, Lane>();
  readonly #draining = new Set<Lane>();
  readonly #pauses = new Map<LaneKind, { attempts: number; timer: NodeJS.Timeout | undefined }>();
  #lastEnd: LaneEnd | undefined;
  #stopped: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  get state(): TunnelState {
    const stateOf = (kind: LaneKind) => (this.#lanes.get(kind)?.isJoined === true ? "joined" : "connecting");
    return { lanes: { interactive: stateOf("interactive"), bulk: stateOf("bulk") }, lastEnd: this.#lastEnd };
  }

  start(): void {
    for (const kind of ["interactive", "bulk"] as const) {
      this.#pauses.set(kind, { attempts: 0, timer: undefined });
      void this.#connect(kind);
    }
  }

  /** Sends this replica's state on a lane that is up; whoever joins later sends its own. */
  report(state: Readonly<Record<string, unknown>>): void {
    this.#lanes.get("interactive")?.report(state);
  }

  /** Takes no new streams, and resolves when the running ones are over. */
  async drain(): Promise<void> {
    this.#stopped ??= Promise.withResolvers<void>();
    for (const pause of this.#pauses.values()) clearTimeout(pause.timer);
    for (const lane of this.#lanes.values()) {
      this.#draining.add(lane);
      if (lane.isJoined) lane.drain("the agent is stopping");
      else lane.close();
    }
    this.#lanes.clear();
    this.#settle();
    await this.#stopped.promise;
  }

  /** Closes at once. */
  stop(): void {
    this.#stopped ??= Promise.withResolvers<void>();
    for (const pause of this.#pauses.values()) clearTimeout(pause.timer);
    for (const lane of [...this.#lanes.values(), ...this.#draining]) lane.close();
    this.#lanes.clear();
  }

  async #connect(kind: LaneKind): Promise<void> {
    const token = await this.#options.target.joinToken().catch((error: unknown) => {
      this.#retry(kind, { type: "closed", reason: `no join token: ${String(error)}`, code: 0 }, 0);
    });
    if (token === undefined || this.#stopped !== undefined) return;
    let joinedAtMs: number | undefined;
    const lane: Lane = new Lane(
      {
        kind,
        target: this.#options.target,
        identity: this.#options.identity,
        onStream: this.#options.onStream,
        onJoined: () => {
          joinedAtMs = performance.now();
          this.#changed();
        },
        onEnd: (end) => {
          this.#draining.delete(lane);
          if (this.#lanes.get(kind) === lane) this.#lanes.delete(kind);
          this.#retry(kind, end, joinedAtMs === undefined ? 0 : performance.now() - joinedAtMs);
        },
      },
      token,
    );
    this.#lanes.set(kind, lane);
  }

  #retry(kind: LaneKind, end: LaneEnd, livedMs: number): void {
    this.#lastEnd = end;
    this.#settle();
    const pause = this.#pauses.get(kind);
    if (this.#stopped !== undefined || pause === undefined) return;
    if (livedMs > healthyMs) pause.attempts = 0;
    const ceilingMs = Math.min(longestPauseMs, firstPauseMs * 2 ** pause.attempts);
    const pauseMs = pause.attempts === 0 && livedMs > healthyMs ? 0 : this.#options.random() * ceilingMs;
    pause.attempts += 1;
    pause.timer = setTimeout(() => void this.#connect(kind), pauseMs);
    this.#changed();
  }

  #settle(): void {
    if (this.#stopped !== undefined && this.#draining.size === 0) this.#stopped.resolve();
  }

  #changed(): void {
    this.#options.onChange(this.state);
  }
}
