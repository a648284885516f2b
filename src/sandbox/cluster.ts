/** The parts that every handler works with. */
import type { Clock } from "./clock.ts";
import type { Authenticator } from "./identity/authenticator.ts";
import type { Authorizer } from "./identity/authorizer.ts";
import type { HeaderLines } from "./identity/impersonation.ts";
import type { ServiceAccountIssuer } from "./identity/service-account-issuer.ts";
import type { User } from "./identity/user.ts";
import type { Kubelet } from "./node/kubelet.ts";
import type { Json } from "./objects/json.ts";
import type { Registry } from "./registry/registry.ts";
import type { Snapshots } from "./server/snapshots.ts";
import type { RequestInfo } from "./server/request.ts";
import type { Outcome } from "./server/status.ts";

/** The running sandbox, as handlers see it. */
export interface Cluster {
  readonly registry: Registry;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly issuer: ServiceAccountIssuer;
  readonly kubelet: Kubelet;
  readonly snapshots: Snapshots;
  readonly clock: Clock;
  /** host:port as clients reach it. */
  readonly address: string;
}

/** A request that was admitted: who asks is known and may ask it. */
export interface ApiRequest {
  readonly method: string;
  readonly info: RequestInfo;
  readonly user: User;
  readonly lines: HeaderLines;
  /** The first value of a header, "" when there is none; the name in lower case. */
  header(name: string): string;
  /** The body as JSON; a failure when it is too large, of another type or no JSON. */
  body(): Promise<Outcome<Json>>;
}
