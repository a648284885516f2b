/**
 * How a command's SPDY connection ends when the gateway, not the command, ends it: with a failure on the command's error stream. kubectl
 * takes the end of the connection alone for the end of the command, exit code 0.
 */
import { errorTable } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { failureSentence, failureStatus } from "#core/kube/status.ts";

/** kubectl and client-go open the error stream first, and a client's streams are odd (SPDY/3.1 section 2.3.2). */
const errorStream = 1;
const headerBytes = 8;
const finFlag = 1;

export class SpdyEnding {
  readonly #saysStatus: boolean;
  /** Of the frame that is passing: its header so far, and bytes that follow. */
  #header = Buffer.alloc(0);
  #left = 0;

  /** @param version the stream protocol that the apiserver chose: from v4 on, errors are a Status */
  constructor(version: string) {
    this.#saysStatus = version === "v4.channel.k8s.io" || version === "v5.channel.k8s.io";
  }

  /** Follows the borders of the frames that the apiserver sends. */
  pass(chunk: Uint8Array): void {
    for (let offset = 0; offset < chunk.length;) {
      if (this.#left > 0) {
        const passed = Math.min(this.#left, chunk.length - offset);
        this.#left -= passed;
        offset += passed;
        continue;
      }
      const taken = chunk.subarray(offset, offset + headerBytes - this.#header.length);
      this.#header = Buffer.concat([this.#header, taken]);
      offset += taken.length;
      if (this.#header.length < headerBytes) return;
      this.#left = this.#header.readUIntBE(5, 3);
      this.#header = Buffer.alloc(0);
    }
  }

  /** The frame that says a failure; undefined in the middle of another, where nothing can be said. */
  failure(reason: string): Buffer | undefined {
    if (this.#left > 0 || this.#header.length > 0) return undefined;
    const { code, message } = readReason(reason);
    const text = this.#saysStatus ? JSON.stringify(failureStatus(code, message)) : failureSentence(code, message);
    const payload = Buffer.from(text, "utf8");
    const header = Buffer.alloc(headerBytes);
    header.writeUInt32BE(errorStream, 0);
    header.writeUInt8(finFlag, 4);
    header.writeUIntBE(payload.length, 5, 3);
    return Buffer.concat([header, payload]);
  }
}

/** A close reason of the gateway is a sentence of its error table, perhaps cut off; a connection that broke has none. */
function readReason(reason: string): { readonly code: ErrorCode; readonly message: string } {
  const [, code = "", message = ""] = /^([A-Z_]+): ([^.]*)/.exec(reason) ?? [];
  const known = Object.keys(errorTable).find((each): each is ErrorCode => each === code);
  return known === undefined ? { code: "AGENT_GONE", message: "the connection through the gateway was lost" } : { code: known, message };
}
