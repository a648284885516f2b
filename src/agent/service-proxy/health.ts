/**
 * Whether the proxy keeps up, as load balancers and the kubelet ask: KEP-3836's /livez and /healthz, and health check node ports. A family
 * is unhealthy when a change has waited for too long. That is measured by a timer, so that a jump of the wall clock says nothing.
 */
import type { Clock } from "#agent/clock.ts";
import type { IpFamily } from "#agent/dataplane/dataplane.ts";

export interface ProxyHealthOptions {
  readonly families: readonly IpFamily[];
  readonly clock: Clock;
  /** How long a change may wait: twice the sync period. */
  readonly timeoutMs: number;
}

/** The health as its JSON shows it; times are milliseconds since the epoch. */
export interface HealthStatus {
  readonly isHealthy: boolean;
  readonly families: readonly { readonly family: IpFamily; readonly lastUpdatedMs: number; readonly isHealthy: boolean }[];
}

interface FamilyHealth {
  lastUpdatedMs: number;
  isLate: boolean;
  /** While a change waits. */
  cancel: (() => void) | undefined;
}

export class ProxyHealth {
  readonly #options: ProxyHealthOptions;
  readonly #families: ReadonlyMap<IpFamily, FamilyHealth>;

  /** A proxy that starts is healthy: kube-proxy counts from there too. */
  constructor(options: ProxyHealthOptions) {
    this.#options = options;
    const lastUpdatedMs = options.clock.now();
    this.#families = new Map(options.families.map((family) => [family, { lastUpdatedMs, isLate: false, cancel: undefined }]));
  }

  /** A change waits to be applied. */
  queued(family: IpFamily): void {
    const health = this.#families.get(family);
    if (health === undefined || health.cancel !== undefined) return;
    health.cancel = this.#options.clock.after(this.#options.timeoutMs, () => {
      health.isLate = true;
    });
  }

  /** Everything that was queued is applied. */
  updated(family: IpFamily): void {
    const health = this.#families.get(family);
    if (health === undefined) return;
    health.cancel?.();
    health.cancel = undefined;
    health.isLate = false;
    health.lastUpdatedMs = this.#options.clock.now();
  }

  get isHealthy(): boolean {
    return this.status().isHealthy;
  }

  status(): HealthStatus {
    const families = [...this.#families].map(([family, { lastUpdatedMs, isLate }]) => ({ family, lastUpdatedMs, isHealthy: !isLate }));
    return { isHealthy: families.every(({ isHealthy }) => isHealthy), families };
  }

  /** Forgets what waits. */
  close(): void {
    for (const health of this.#families.values()) health.cancel?.();
  }
}

/** An answer of a health endpoint. */
export interface HealthAnswer {
  readonly status: 200 | 503;
  readonly body: string;
}

/** What /livez says. */
export function answerLivez(status: HealthStatus, nowMs: number): HealthAnswer {
  return answer(status, nowMs, undefined);
}

/** What /healthz says: as /livez, and that the node is no longer to be sent to while it goes. */
export function answerHealthz(status: HealthStatus, nowMs: number, isNodeEligible: boolean): HealthAnswer {
  return answer(status, nowMs, isNodeEligible);
}

/** The fields and their meaning are kube-proxy's (pkg/proxy/healthcheck); `lastUpdated` is the present while all is well. */
function answer({ isHealthy, families }: HealthStatus, nowMs: number, nodeEligible: boolean | undefined): HealthAnswer {
  const isGood = isHealthy && nodeEligible !== false;
  const lastUpdatedMs = isGood ? nowMs : Math.max(...families.map((family) => family.lastUpdatedMs));
  const body = {
    lastUpdated: new Date(lastUpdatedMs).toISOString(),
    currentTime: new Date(nowMs).toISOString(),
    ...(nodeEligible !== undefined && { nodeEligible }),
    healthy: isHealthy,
    status: Object.fromEntries(
      families.map((family) => [family.family, { lastUpdated: new Date(family.lastUpdatedMs).toISOString(), healthy: family.isHealthy }]),
    ),
  };
  return { status: isGood ? 200 : 503, body: JSON.stringify(body) };
}
