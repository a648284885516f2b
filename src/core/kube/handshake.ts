/** The apiserver's answer to our WebSocket handshake: the only thing that may join a client's stream with a cluster's. */
import type { ErrorCode } from "#core/errors.ts";
import { headerValues, listValues } from "./headers.ts";
import type { HeaderPairs } from "./headers.ts";

/** The facts of an answer to our own WebSocket handshake. */
export interface HandshakeAnswer {
  readonly status: number;
  readonly headers: HeaderPairs;
  /** What RFC 6455 section 4.2.2 makes of the key that we sent. */
  readonly expectedAccept: string;
  /** The sub-protocols that we offered. */
  readonly offered: readonly string[];
}

/** What follows from an answer to a handshake. */
export type HandshakeDecision =
  | { readonly type: "switched"; readonly protocol: string }
  /** An error of the apiserver's, for the client as it is. */
  | { readonly type: "answered" }
  | { readonly type: "invalid"; readonly code: Extract<ErrorCode, "UPSTREAM_INVALID">; readonly message: string };

/**
 * Decides on an answer to a handshake (RFC 6455 section 4.1). Only a complete 101 joins the streams; 4xx and 5xx are for the client;
 * a redirect or any other success means that the far side did not understand, and is not passed on.
 */
export function decideHandshake(answer: HandshakeAnswer): HandshakeDecision {
  if (answer.status >= 400 && answer.status <= 599) return { type: "answered" };
  if (answer.status !== 101) return broken(`the apiserver answered the upgrade with status ${answer.status}`);
  if (!isWebSocket(answer.headers)) return broken("the apiserver switched to another protocol than WebSocket");
  const accepts = headerValues(answer.headers, "sec-websocket-accept");
  if (accepts.length !== 1 || accepts[0] !== answer.expectedAccept) return broken("the apiserver's Sec-WebSocket-Accept is wrong");
  if (headerValues(answer.headers, "sec-websocket-extensions").length > 0) return broken("the apiserver chose an extension not offered");
  const [protocol, ...more] = headerValues(answer.headers, "sec-websocket-protocol");
  if (protocol === undefined) return { type: "switched", protocol: "" };
  if (more.length > 0 || !answer.offered.includes(protocol)) return broken("the apiserver chose a sub-protocol not offered");
  return { type: "switched", protocol };
}

function isWebSocket(headers: HeaderPairs): boolean {
  const upgrades = listValues(headers, "upgrade").map((token) => token.toLowerCase());
  const connections = listValues(headers, "connection").map((token) => token.toLowerCase());
  return upgrades.length === 1 && upgrades[0] === "websocket" && connections.includes("upgrade");
}

function broken(message: string): HandshakeDecision {
  return { type: "invalid", code: "UPSTREAM_INVALID", message };
}
