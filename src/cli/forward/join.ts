/** Bytes joined to a forwarded connection: both directions with their own ends, and as fast as each side takes them. */
import type { Readable, Writable } from "node:stream";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { batchBytes } from "#core/tunnel/limits.ts";
import type { ForwardConnection } from "./connection.ts";

/** This machine's side: a socket, or standard input and output. */
export interface LocalSide {
  readonly input: Readable;
  readonly output: Writable;
  /** Ends it as a broken connection. */
  readonly breakOff: () => void;
}

export type JoinOutcome =
  | { readonly type: "completed" }
  /** This side has gone. */
  | { readonly type: "left" }
  | { readonly type: "reset"; readonly code: ResetCode; readonly reason: string };

/** Resolves when both directions are over. */
export function joinBytes({ input, output, breakOff }: LocalSide, connection: ForwardConnection): Promise<JoinOutcome> {
  return new Promise((resolve) => {
    let open = 2;
    const ended = (): void => {
      open -= 1;
      if (open === 0) resolve({ type: "completed" });
    };
    const left = (): void => {
      connection.reset("CANCEL");
      resolve({ type: "left" });
    };
    input.on("data", (chunk: Uint8Array) => {
      connection.write(chunk);
      if (connection.queuedCost >= batchBytes) input.pause();
    });
    input.on("end", () => {
      connection.end();
      ended();
    });
    input.on("error", left);
    output.on("error", left);
    // Destroyed before its end, as it is when the command is interrupted.
    input.on("close", () => {
      if (!input.readableEnded) left();
    });
    output.on("close", () => {
      if (!output.writableFinished) left();
    });
    connection.listen({
      onData: (payload, consumed) => void output.write(payload, () => consumed()),
      onDatagram: () => undefined,
      onEnd: () => {
        output.end();
        ended();
      },
      onReset: (code, reason) => {
        breakOff();
        resolve({ type: "reset", code, reason });
      },
      onDrain: () => {
        if (connection.queuedCost < batchBytes) input.resume();
      },
    });
    input.resume();
  });
}
