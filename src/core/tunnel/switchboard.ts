/**
 * The Durable Object's part of the tunnel: it joins a user's link to a stream of an agent's lane and carries frames across, knowing
 * only types and ids. It never opens a payload, so credit, half-close and offsets are between the two ends.
 * A link carries one stream and calls it `linkStream`; a lane's ids are handed out here, and one is free again only when both ends have let go.
 */
import { frameTypes, scanFrames, writeStreamId } from "./frame.ts";
import type { FrameSpan } from "./frame.ts";
import { maxStreamsPerLane } from "./limits.ts";

/** The id that a link's one stream has on the link. */
export const linkStream = 1;

/** One joined stream. `Lane` and `Link` are whatever the owner sends to. */
export interface Circuit<Lane, Link> {
  readonly lane: Lane;
  readonly link: Link;
  readonly id: number;
}

/** Bytes for one link, or a lane's own frame. */
export type Delivery<Link> =
  /** `ended`: the bytes hold the END of the agent's direction; `closed`: they hold a reset, and the circuit is gone. */
  | { readonly type: "link"; readonly link: Link; readonly bytes: Uint8Array; readonly ended: boolean; readonly closed: boolean }
  | { readonly type: "lane"; readonly bytes: Uint8Array; readonly frameType: number }
  | { readonly type: "violation"; readonly reason: string };

interface LaneTable<Lane, Link> {
  readonly circuits: Map<number, Circuit<Lane, Link>>;
  nextId: number;
  highestId: number;
}

/** Frames of one stream that stand next to each other in a message. */
interface Run<Lane, Link> {
  readonly circuit: Circuit<Lane, Link>;
  readonly start: number;
  readonly end: number;
  readonly ended: boolean;
  readonly closed: boolean;
}

/** The table of one Durable Object. */
export class Switchboard<Lane, Link> {
  readonly #lanes = new Map<Lane, LaneTable<Lane, Link>>();
  readonly #links = new Map<Link, Circuit<Lane, Link>>();

  get circuitCount(): number {
    return this.#links.size;
  }

  addLane(lane: Lane): void {
    this.#lanes.set(lane, { circuits: new Map(), nextId: 1, highestId: 0 });
  }

  /** Streams that a lane carries: the load by which lanes are chosen. */
  load(lane: Lane): number {
    return this.#lanes.get(lane)?.circuits.size ?? 0;
  }

  circuitOf(link: Link): Circuit<Lane, Link> | undefined {
    return this.#links.get(link);
  }

  /** Joins a link to a new stream of a lane; undefined when the lane is gone or full. */
  join(lane: Lane, link: Link): Circuit<Lane, Link> | undefined {
    const table = this.#lanes.get(lane);
    if (table === undefined || table.circuits.size >= maxStreamsPerLane) return undefined;
    while (table.circuits.has(table.nextId)) advance(table);
    return this.#enter(table, { lane, link, id: table.nextId });
  }

  /** Puts a circuit back that was written down before the object slept. */
  restore(circuit: Circuit<Lane, Link>): void {
    const table = this.#lanes.get(circuit.lane);
    if (table !== undefined) this.#enter(table, circuit);
  }

  /** Forgets a link; the circuit that it had, if any. */
  part(link: Link): Circuit<Lane, Link> | undefined {
    const circuit = this.#links.get(link);
    if (circuit === undefined) return undefined;
    this.#links.delete(link);
    this.#lanes.get(circuit.lane)?.circuits.delete(circuit.id);
    return circuit;
  }

  /** Forgets a lane; the circuits that it had. */
  removeLane(lane: Lane): readonly Circuit<Lane, Link>[] {
    const table = this.#lanes.get(lane);
    this.#lanes.delete(lane);
    const circuits = [...(table?.circuits.values() ?? [])];
    for (const circuit of circuits) this.#links.delete(circuit.link);
    return circuits;
  }

  /**
   * Splits a message from a lane into what goes to each link, in order, ids rewritten in place. Frames for links that have gone are
   * dropped: they crossed our reset on the way. Frames that only the edge may send, or of streams that never were, are violations.
   */
  fromLane(lane: Lane, message: Uint8Array): readonly Delivery<Link>[] {
    const table = this.#lanes.get(lane);
    const scanned = scanFrames(message);
    if (scanned.type === "invalid") return [{ type: "violation", reason: scanned.reason }];
    if (table === undefined) return [{ type: "violation", reason: "frames before the lane has joined" }];
    return this.#split(table, message, scanned.spans);
  }

  /** A message from a link with the ids of its lane written in place; undefined when the link has no circuit, a reason when it is hostile. */
  fromLink(
    link: Link,
    message: Uint8Array,
  ): { readonly circuit: Circuit<Lane, Link>; readonly closed: boolean } | { readonly fault: string } | undefined {
    const circuit = this.#links.get(link);
    if (circuit === undefined) return undefined;
    const scanned = scanFrames(message);
    if (scanned.type === "invalid") return { fault: scanned.reason };
    let closed = false;
    for (const span of scanned.spans) {
      if (span.stream !== linkStream) return { fault: "frame of another stream on a link" };
      writeStreamId(message, span.start, circuit.id);
      closed ||= span.type === frameTypes.reset;
    }
    if (closed) this.part(link);
    return { circuit, closed };
  }

  #split(table: LaneTable<Lane, Link>, message: Uint8Array, spans: readonly FrameSpan[]): readonly Delivery<Link>[] {
    const deliveries: Delivery<Link>[] = [];
    let run: Run<Lane, Link> | undefined;
    for (const span of spans) {
      const circuit = table.circuits.get(span.stream);
      const fault = faultOf(span.type, span.stream, table.highestId);
      if (run !== undefined && (fault !== undefined || !continues(run, circuit, span))) {
        deliveries.push(this.#finish(run, message));
        run = undefined;
      }
      if (fault !== undefined) return [...deliveries, { type: "violation", reason: fault }];
      if (span.stream === 0) deliveries.push({ type: "lane", bytes: message.subarray(span.start, span.end), frameType: span.type });
      if (circuit === undefined) continue;
      writeStreamId(message, span.start, linkStream);
      run = extend(run, circuit, span);
    }
    if (run !== undefined) deliveries.push(this.#finish(run, message));
    return deliveries;
  }

  #finish(run: Run<Lane, Link>, message: Uint8Array): Delivery<Link> {
    const { link } = run.circuit;
    if (run.closed) this.part(link);
    return { type: "link", link, bytes: message.subarray(run.start, run.end), ended: run.ended, closed: run.closed };
  }

  #enter(table: LaneTable<Lane, Link>, circuit: Circuit<Lane, Link>): Circuit<Lane, Link> {
    table.circuits.set(circuit.id, circuit);
    table.highestId = Math.max(table.highestId, circuit.id);
    table.nextId = circuit.id;
    advance(table);
    this.#links.set(circuit.link, circuit);
    return circuit;
  }
}

function continues<Lane, Link>(run: Run<Lane, Link>, circuit: Circuit<Lane, Link> | undefined, span: FrameSpan): boolean {
  return run.circuit === circuit && run.end === span.start;
}

function extend<Lane, Link>(run: Run<Lane, Link> | undefined, circuit: Circuit<Lane, Link>, span: FrameSpan): Run<Lane, Link> {
  return {
    circuit,
    start: run?.start ?? span.start,
    end: span.end,
    ended: run?.ended === true || span.type === frameTypes.end,
    closed: run?.closed === true || span.type === frameTypes.reset,
  };
}

function advance(table: { nextId: number }): void {
  table.nextId = table.nextId >= 0xff_ff_ff ? 1 : table.nextId + 1;
}

function faultOf(type: number, stream: number, highestId: number): string | undefined {
  if (type === frameTypes.open) return "the agent tried to open a stream";
  if (stream > highestId) return "frame of a stream that was never opened";
  return undefined;
}
