/**
 * How a WebSocket stream ends when the gateway ends it: a credential expired, was revoked, or a link broke. kubectl takes a close
 * with code 1000 and no Status before it for success, exit code 0, so that never happens here: exec and attach get a failure
 * Status on channel 3 and then 1000; where no Status can be said, the code is 1011.
 */
import { maxCloseReasonBytes } from "./close-frame.ts";
import type { FailureStatus } from "./status.ts";
import { protocolFraming } from "./upgrade.ts";
import type { UpgradeKind } from "./upgrade.ts";

/** A WebSocket message; text and binary stay what they are. */
export type StreamMessage =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "binary"; readonly bytes: Uint8Array<ArrayBuffer> };

/** What is sent to end a stream: the messages in order, then a close frame. */
export interface StreamEnd {
  readonly messages: readonly StreamMessage[];
  /** RFC 6455 section 7.4.1: 1000 normal closure, 1011 unexpected condition. */
  readonly closeCode: 1000 | 1011;
  /** At most 123 bytes of ASCII, a close frame's room. */
  readonly closeReason: string;
}

/** The channel of errors and of the final Status (Kubernetes remotecommand protocols). */
const errorChannel = 3;

/** The end of a stream of this kind and chosen sub-protocol (empty for none), for this failure. */
export function endFrames(stream: { readonly kind: UpgradeKind; readonly protocol: string }, failure: FailureStatus): StreamEnd {
  const closeReason = failure.message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, maxCloseReasonBytes);
  // A watch that ends is resumed by its client; an abnormal close would only be logged as a fault.
  if (stream.kind === "watch") return { messages: [], closeCode: 1000, closeReason };
  const framing = protocolFraming(stream.kind, stream.protocol);
  if (framing?.type !== "channels") return { messages: [], closeCode: 1011, closeReason };
  const text = framing.errors === "status" ? JSON.stringify(failure) : failure.message;
  const message = channelMessage(framing.encoding, text);
  // A text on channel 3 is no Status, so 1000 after it could still be read as success.
  return { messages: [message], closeCode: framing.errors === "status" ? 1000 : 1011, closeReason };
}

/** Binary: the channel's byte, then the data. Base64: the channel's digit, then standard base64 as text. */
function channelMessage(encoding: "binary" | "base64", text: string): StreamMessage {
  const data = new TextEncoder().encode(text);
  if (encoding === "binary") return { type: "binary", bytes: Uint8Array.of(errorChannel, ...data) };
  const base64 = btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
  return { type: "text", text: `${errorChannel}${base64}` };
}
