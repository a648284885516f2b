/** What the hub sends to: agents' lanes, and users' links in their two forms. */
import type { JoinClaims } from "./hub.ts";

/** What a lane's socket remembers while the object sleeps (at most 16 KiB). */
export interface LaneAttachment {
  readonly role: "lane";
  readonly id: string;
  readonly claims: JoinClaims;
  readonly nonce: string;
  readonly openedAtMs: number;
  readonly joined: JoinedLane | undefined;
  readonly draining?: boolean;
}

export interface JoinedLane {
  readonly replica: string;
  readonly lane: "interactive" | "bulk";
  readonly build: string;
  readonly node: string;
  readonly atMs: number;
}

/** What a link's socket remembers: the circuit that it belongs to. */
export interface LinkAttachment {
  readonly role: "link";
  readonly lane: string;
  readonly id: number;
}

/** An agent's WebSocket. */
export class LaneSocket {
  readonly socket: WebSocket;
  /** Its HELLO is being verified. */
  isJoining = false;
  #attachment: LaneAttachment;

  constructor(socket: WebSocket, attachment: LaneAttachment) {
    this.socket = socket;
    this.#attachment = attachment;
  }

  static restore(socket: WebSocket): LaneSocket {
    return new LaneSocket(socket, socket.deserializeAttachment());
  }

  get attachment(): LaneAttachment {
    return this.#attachment;
  }

  update(attachment: LaneAttachment): void {
    this.#attachment = attachment;
    this.save();
  }

  save(): void {
    this.socket.serializeAttachment(this.#attachment);
  }
}

/** Whether an agent has proved itself on this lane. */
export function isJoinedLane(lane: LaneSocket): boolean {
  return lane.attachment.joined !== undefined;
}

/** What a delivery says about the stream. */
export interface DeliveryEnd {
  /** The agent's direction has ended. */
  readonly ended: boolean;
  /** The stream was reset. */
  readonly closed: boolean;
}

/** A user's end of a circuit. */
export interface HubLink {
  deliver(bytes: Uint8Array, end: DeliveryEnd): void;
  /** Ends it from here: 1000 when the stream was reset by its own user, 1011 when the user's side broke the protocol. */
  close(code: 1000 | 1011): void;
}

/** A link over a WebSocket: for streams that may be long, which must not keep the object awake. */
export class SocketLink implements HubLink {
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  deliver(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  close(code: 1000 | 1011): void {
    this.#socket.close(code, "");
  }
}

/** A link as one request and its answer: one hop for short requests. */
export class ExchangeLink implements HubLink {
  readonly response: Promise<Response>;
  readonly #closed: () => void;
  #answer: ((response: Response) => void) | undefined;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #over = false;

  /** @param closed called once when nothing more comes or the Worker has gone */
  constructor(closed: () => void) {
    this.#closed = closed;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#answer = resolve;
  }

  deliver(bytes: Uint8Array, end: DeliveryEnd): void {
    if (this.#over) return;
    const last = end.ended || end.closed;
    const answer = this.#answer;
    this.#answer = undefined;
    if (answer !== undefined) answer(last ? new Response(bytes, { headers: { "x-sallyport-whole": "1" } }) : this.#streamed(bytes));
    else this.#controller?.enqueue(bytes);
    if (last) this.#finish();
  }

  close(_code: 1000 | 1011): void {
    if (this.#over) return;
    this.#answer?.(Response.json({ code: "INTERNAL" }, { status: 500 }));
    this.#answer = undefined;
    this.#finish();
  }

  #streamed(first: Uint8Array): Response {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        controller.enqueue(first);
      },
      cancel: () => {
        this.#controller = undefined;
        this.#finish();
      },
    });
    return new Response(body);
  }

  #finish(): void {
    this.#over = true;
    this.#controller?.close();
    this.#controller = undefined;
    this.#closed();
  }
}
