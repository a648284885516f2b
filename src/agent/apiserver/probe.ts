/** The question whether a server is ready: GET /readyz on a connection of its own, so that no request can hold it up. */
import type { Clock } from "#agent/clock.ts";
import { Connections } from "./connections.ts";
import type { ConnectionOptions } from "./connections.ts";
import { Exchange } from "./exchange.ts";
import type { Attempt, AttemptRequest } from "./exchange.ts";
import type { ResponseBody } from "./body.ts";
import { probeTimeoutMs } from "./limits.ts";

/** `refused`: nothing listens there. */
export type ProbeOutcome = "ready" | "notReady" | "unreachable" | "refused";

export interface Probe {
  /** Asks once; never rejects. */
  ask(): Promise<ProbeOutcome>;
  /** Called when the connection that waits between probes ends: a server that goes on does not do that. */
  onLost: (() => void) | undefined;
  close(): Promise<void>;
}

export interface ProbeOptions {
  readonly connection: ConnectionOptions;
  readonly clock: Clock;
  /** The agent's own Authorization value: clusters without anonymous access answer 401 to a bare probe. */
  readonly authorization: () => Promise<string | undefined>;
}

/** A probe of /readyz (Kubernetes API health endpoints). 200 is ready; 401 and 403 come from a living server that keeps its health to itself. */
export function createReadyzProbe(options: ProbeOptions): Probe {
  const connections = new Connections({ ...options.connection, onIdleLost: () => probe.onLost?.() });
  const probe: Probe = {
    ask: async () => {
      const aborter = new AbortController();
      const cancel = options.clock.after(probeTimeoutMs, () => aborter.abort(new Error("no answer in time")));
      try {
        return await askOnce(connections, options.authorization, aborter.signal);
      } finally {
        cancel();
      }
    },
    onLost: undefined,
    close: async () => connections.close(),
  };
  return probe;
}

async function askOnce(connections: Connections, authorization: ProbeOptions["authorization"], signal: AbortSignal): Promise<ProbeOutcome> {
  const value = await authorization().catch(() => undefined); // without a credential the probe still says whether the server is there
  const headers = value === undefined ? [] : ["authorization", value];
  const request = { method: "GET", target: "/readyz", headers, body: undefined, longRunning: true, watch: false, signal };
  const first = await attemptOn(connections, request, "idle");
  // An idle connection may have ended before; a fresh one tells whether the server has.
  const attempt = first.type === "lost" ? await attemptOn(connections, request, "fresh") : first;
  if (attempt.type === "invalid") return "notReady";
  if (attempt.type === "unwritten" && isRefusal(attempt.cause)) return "refused";
  if (attempt.type !== "answered") return "unreachable";
  const { status, body } = attempt.answer;
  if (!(await drain(body))) return "unreachable";
  return status === 200 || status === 401 || status === 403 ? "ready" : "notReady";
}

async function attemptOn(connections: Connections, request: AttemptRequest, which: "idle" | "fresh"): Promise<Attempt> {
  const connection = connections.acquire(which === "fresh");
  const exchange = new Exchange(request, () => connections.release(connection));
  exchange.start(connection);
  return exchange.attempt;
}

/** Whether a connection was refused: the host is there, and nothing listens at the port. */
export function isRefusal(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED";
}

/** Reads a body to its end; false when it broke off. The probe's time limit ends one that never ends. */
async function drain(body: ResponseBody): Promise<boolean> {
  return new Promise((resolve) => {
    body.on("end", () => resolve(true));
    body.on("error", () => resolve(false));
    body.on("close", () => resolve(false));
    body.resume();
  });
}
