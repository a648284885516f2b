/**
 * A forward: a connection that the agent makes itself for a user whom it has verified, and that carries bytes or datagrams. A request
 * without an upgrade is told what would be dialled, after the very same checks.
 */
import { errorTable, GatewayError, toGatewayError } from "#core/errors.ts";
import { forwardTargetHeader } from "#core/kube/forward-target.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import { DatagramBridge } from "./datagram-bridge.ts";
import type { DialledTarget, ReviewedUser } from "./ports.ts";
import { SocketBridge } from "./socket-bridge.ts";

/** Credit given at once, so that an upload does not begin with a round trip for each of its first windows. */
const firstCreditBytes = 128 << 10;

/** One side of a forward: what carries it between the stream and the target. */
export interface TargetBridge {
  start(): void;
  /** Ends it from here, and tells both sides. */
  fail(code: ResetCode, reason: string): void;
}

export interface BridgeEnd {
  (reason: string, annotations?: Readonly<Record<string, number>>): void;
}

/** A forward that was let through. */
export interface AdmittedForward {
  readonly admitted: AdmittedRequest;
  readonly target: ForwardTarget;
  /** The user as reviews know them. */
  readonly user: ReviewedUser;
}

/** Answers what would be dialled. */
export async function describeTarget(
  options: HandlerOptions,
  { admitted, target, user }: AdmittedForward,
  stream: TunnelStream,
): Promise<void> {
  const { text, address, port } = await recorded(admitted, () => options.dialer.describe(target, user));
  const body = new TextEncoder().encode(JSON.stringify({ target: text, address, port, protocol: target.protocol }));
  stream.listen({ onData: (_p, _k, consumed) => consumed(), onEnd: ignore, onReset: ignore, onDrain: ignore });
  stream.sendHead({ status: 200, headers: [["Content-Type", "application/json"]], timing: { verifyMs: admitted.verifyMs, upstreamMs: 0 } });
  stream.write(body, { messageEnd: true, text: false });
  stream.end();
  admitted.record.end({ status: 200, reason: "described", bytesIn: 0, bytesOut: body.length, annotations: annotationsOf(target, text) });
}

/** Dials, and joins the stream to what was dialled. */
export async function forwardTarget(options: HandlerOptions, forward: AdmittedForward, stream: TunnelStream): Promise<void> {
  const { admitted, target } = forward;
  const abort = new AbortController();
  const startedMs = performance.now();
  stream.listen({
    onData: (_p, _k, consumed) => consumed(),
    onEnd: ignore,
    onReset: () => abort.abort(new GatewayError("CANCELLED", "the user has gone")),
    onDrain: ignore,
  });
  const opened = await recorded(admitted, () => open(options, forward, stream, abort.signal));
  const annotations = annotationsOf(target, opened.chosen.text);
  let leave: () => void = ignore;
  const bridge = opened.bridge((reason, more = {}) => {
    leave();
    admitted.record.end({
      status: 101,
      reason,
      bytesIn: stream.receivedBytes,
      bytesOut: stream.sentBytes + stream.queuedBytes,
      annotations: { ...annotations, ...more },
    });
  });
  if (stream.isClosed) return bridge.fail("CANCEL", "the user has gone");
  leave = options.sessions.enter(admitted.token, {
    onExpired: () => bridge.fail("EXPIRED", "the credential has ended"),
    onExtended: (expiresAtMs) => stream.extend(expiresAtMs),
  });
  stream.sendHead({
    status: 101,
    headers: [[forwardTargetHeader, opened.chosen.text]],
    expiresAtMs: admitted.token.expiresAtMs,
    timing: { verifyMs: admitted.verifyMs, upstreamMs: performance.now() - startedMs },
  });
  stream.grant(firstCreditBytes);
  bridge.start();
}

/** A forward that the cluster or the dialer does not let through is refused, although its request was let in. */
async function recorded<Value>({ record }: AdmittedRequest, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (thrown) {
    const { code } = toGatewayError(thrown);
    const isRefused = code === "POLICY_DENIED" || code === "TARGET_REFUSED";
    const end = { status: errorTable[code].status, reason: code, bytesIn: 0, bytesOut: 0 };
    if (isRefused) record.end({ ...end, annotations: { decision: "refused" } });
    throw thrown;
  }
}

interface Opened {
  readonly chosen: DialledTarget<unknown>["chosen"];
  readonly bridge: (onEnd: BridgeEnd) => TargetBridge;
}

async function open(
  options: HandlerOptions,
  { target, user }: AdmittedForward,
  stream: TunnelStream,
  signal: AbortSignal,
): Promise<Opened> {
  const { dialer, clock } = options;
  switch (target.protocol) {
    case "tcp": {
      const { chosen, socket } = await dialer.connectTcp(target, user, signal);
      return { chosen, bridge: (onEnd) => new SocketBridge(stream, socket, onEnd) };
    }
    case "udp": {
      const { chosen, socket } = await dialer.openUdp(target, user);
      return { chosen, bridge: (onEnd) => new DatagramBridge({ stream, socket, clock, isCurrent: chosen.isCurrent, onEnd }) };
    }
  }
}

function annotationsOf(target: ForwardTarget, text: string): Readonly<Record<string, string | number>> {
  return { "forward-target": text, "forward-port": Number(text.slice(text.lastIndexOf("/") + 1)), "forward-protocol": target.protocol };
}

function ignore(): void {
  // nothing to do at this moment
}
