/**
 * The Worker's side of the way to a cluster's hub, in two forms that carry the same frames: a WebSocket for streams that may be long,
 * upload or upgrade, so that the hub may sleep beside them, and one request with its answer for short ones, which saves a hop.
 */
import { waitUntil } from "cloudflare:workers";
import { GatewayError } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { encodeFrames } from "#core/tunnel/frame.ts";
import type { StreamClass } from "#core/tunnel/payload.ts";
import { linkStream } from "#core/tunnel/switchboard.ts";
import type { HubStub } from "./stubs.ts";

/** What a link hands to its owner. */
export interface LinkHandlers {
  /** One message of whole frames. */
  readonly onFrames: (message: Uint8Array) => void;
  /** The link broke before the stream was over. */
  readonly onLost: () => void;
}

export interface Link {
  /** Sends whole frames. */
  send(message: Uint8Array): void;
  /** Ends the link: in order when the stream is over, else the hub tells the agent that the user has gone. */
  close(inOrder: boolean): void;
}

/** Opens a WebSocket to the hub. @throws GatewayError AGENT_OFFLINE, OVERLOADED */
export async function openSocketLink(hub: HubStub, streamClass: StreamClass, handlers: LinkHandlers): Promise<Link> {
  const response = await hub.fetch(`https://hub/link?class=${streamClass}`, { headers: { upgrade: "websocket" } });
  const socket = response.webSocket;
  if (socket === null) throw await refusalOf(response);
  socket.binaryType = "arraybuffer";
  let over = false;
  socket.addEventListener("message", (event) => {
    if (event.data instanceof ArrayBuffer) handlers.onFrames(new Uint8Array(event.data));
  });
  const lost = () => {
    if (!over) handlers.onLost();
    over = true;
  };
  socket.addEventListener("close", lost);
  socket.addEventListener("error", lost);
  socket.accept();
  return {
    send: (message) => {
      if (!over) socket.send(message);
    },
    close: (inOrder) => {
      over = true;
      socket.close(inOrder ? 1000 : 1001, "");
    },
  };
}

/** An exchange whose first answer may still be on its way. */
export interface ExchangeLink {
  /** Usable at once: what is sent before the answer follows the first frames. */
  readonly link: Link;
  /** The hub has answered. Rejects with GatewayError AGENT_OFFLINE or OVERLOADED. */
  readonly opened: Promise<void>;
}

/** Sends a stream's first frames, which must hold its whole request, and hands over what comes back. */
export function openExchangeLink(options: {
  readonly hub: HubStub;
  readonly streamClass: StreamClass;
  readonly first: Uint8Array;
  readonly handlers: LinkHandlers;
}): ExchangeLink {
  const { hub, handlers } = options;
  const id = crypto.randomUUID();
  const open = async () => {
    const answer = await hub.exchange(id, options.streamClass, options.first);
    switch (answer.type) {
      case "whole":
        return handlers.onFrames(answer.bytes);
      case "stream":
        void pump(answer.stream, handlers);
        return;
      case "refused":
        throw refusal(answer);
    }
  };
  const send = (message: Uint8Array) => waitUntil(Promise.resolve(hub.push(id, message))); // a user who has gone takes their request's context along
  const link: Link = {
    send,
    close: (inOrder) => {
      if (!inOrder) send(encodeFrames([{ type: "reset", stream: linkStream, code: "CANCEL", reason: "" }]));
    },
  };
  return { link, opened: open() };
}

/** Reads an answer's bytes and hands over whole frames: chunk borders of a body mean nothing. */
async function pump(body: ReadableStream<Uint8Array>, handlers: LinkHandlers): Promise<void> {
  const assembler = new FrameAssembler();
  try {
    for await (const chunk of body) {
      const whole = assembler.push(chunk);
      if (whole.length > 0) handlers.onFrames(whole);
    }
  } catch {
    // the hub went away in the middle: told below as lost, which is harmless when the stream was over
  }
  handlers.onLost();
}

/** Cuts a byte stream into runs of whole frames. */
class FrameAssembler {
  #rest: Uint8Array = new Uint8Array(0);

  push(chunk: Uint8Array): Uint8Array {
    const bytes = this.#rest.length === 0 ? chunk : concatenate(this.#rest, chunk);
    const end = wholeFramesEnd(bytes);
    this.#rest = bytes.subarray(end);
    return bytes.subarray(0, end);
  }
}

function wholeFramesEnd(bytes: Uint8Array): number {
  let end = 0;
  while (bytes.length - end >= 8) {
    const length = ((bytes[end + 1] ?? 0) << 16) | ((bytes[end + 2] ?? 0) << 8) | (bytes[end + 3] ?? 0);
    if (end + 8 + length > bytes.length) break;
    end += 8 + length;
  }
  return end;
}

function concatenate(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

async function refusalOf(response: Response): Promise<GatewayError> {
  return refusal(await response.json());
}

function refusal({ code, lastSeenMs }: { readonly code?: ErrorCode; readonly lastSeenMs?: number | undefined }): GatewayError {
  if (code !== "AGENT_OFFLINE") return new GatewayError(code ?? "INTERNAL", "the cluster's hub refused the stream");
  const seen = lastSeenMs === undefined ? "has never connected" : `was last seen ${new Date(lastSeenMs).toISOString()}`;
  return new GatewayError("AGENT_OFFLINE", `no agent of this cluster is connected; it ${seen}`);
}
