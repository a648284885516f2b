/**
 * What the request handler needs from the rest of the agent, as it uses it. `main.ts` gives it the real parts.
 *
 * The handler is where a user's request becomes the cluster's: it trusts the user's token and the cluster's configuration, and
 * nothing that the gateway says about who the user is.
 */
import type { Socket as UdpSocket } from "node:dgram";
import type { Socket } from "node:net";
import type { Duplex, Readable } from "node:stream";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";

/** A request to an apiserver, its identity written. */
export interface ApiserverRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderPairs;
  readonly body: Uint8Array | Readable | undefined;
  readonly longRunning: boolean;
  readonly affinity: string;
  readonly signal: AbortSignal;
  /** For `upgrade`: the protocol to switch to; a WebSocket without. */
  readonly protocol?: string | undefined;
}

export interface ApiserverResponse {
  readonly status: number;
  readonly headers: HeaderPairs;
  readonly body: Readable;
}

export type ApiserverUpgrade =
  | {
      readonly type: "switched";
      readonly headers: HeaderPairs;
      readonly protocol: string | undefined;
      readonly socket: Duplex;
      readonly head: Uint8Array;
    }
  | { readonly type: "answered"; readonly response: ApiserverResponse };

/** The way to the apiservers. */
export interface Apiservers {
  request(request: ApiserverRequest): Promise<ApiserverResponse>;
  upgrade(request: ApiserverRequest): Promise<ApiserverUpgrade>;
}

/** A WebSocket on a switched connection. */
export interface WebSocketPeer {
  readonly protocol: string | undefined;
  /** Sends one message, or a piece of one; `written` is called when it has left. */
  send(data: Uint8Array, options: { readonly text: boolean; readonly final: boolean }, written: () => void): void;
  close(code: number | undefined, reason: string): void;
  /** Ends it without a word: the user is gone. */
  terminate(): void;
  pause(): void;
  resume(): void;
  listen(listener: WebSocketListener): void;
}

export interface WebSocketListener {
  readonly onMessage: (data: Uint8Array, text: boolean) => void;
  /** 1005: closed without a code; 1006: the connection broke. */
  readonly onClose: (code: number, reason: string) => void;
}

/** Attributes of a SubjectAccessReview for a resource (authorization.k8s.io/v1 ResourceAttributes). */
export interface AccessQuestion {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** The reviewed user. */
export interface ReviewedUser {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Asks the cluster whether a user may do something. Rejects when the cluster cannot be asked, which denies. */
export interface AccessReviews {
  isAllowed(user: ReviewedUser, question: AccessQuestion): Promise<boolean>;
}

/** A target that was found, and that the user may reach. */
export interface ChosenTarget {
  /** `pods/<namespace>/<name>/<port>` or `nodes/<name>/<port>`. */
  readonly text: string;
  readonly address: string;
  readonly port: number;
  /** Whether the same object is still there with this address. */
  readonly isCurrent: () => Promise<boolean>;
}

/** A connection or socket to it. */
export interface DialledTarget<Dialled> {
  readonly chosen: ChosenTarget;
  readonly socket: Dialled;
}

/** Reaches targets for a user, whom it asks the cluster about. Rejects with a GatewayError. */
export interface TargetDialer {
  /** Dials nothing. */
  describe(target: ForwardTarget, user: ReviewedUser): Promise<ChosenTarget>;
  connectTcp(target: ForwardTarget, user: ReviewedUser, signal: AbortSignal): Promise<DialledTarget<Socket>>;
  openUdp(target: ForwardTarget, user: ReviewedUser): Promise<DialledTarget<UdpSocket>>;
}
