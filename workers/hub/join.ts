/**
 * Whether a lane's first message proves that its sender is an agent of this cluster: the cluster in the token and in the message is
 * the same, and the signature over this connection's nonce fits its key. Whether that key is the cluster's, the hub decides.
 */
import { decodeFrames } from "#core/tunnel/frame.ts";
import { joinStatement } from "#core/tunnel/payload.ts";
import type { AgentHello, Parsed } from "#core/tunnel/payload.ts";
import type { JoinClaims } from "./hub.ts";

export interface JoinAttempt {
  readonly message: Uint8Array;
  readonly claims: JoinClaims;
  readonly nonce: string;
  readonly parse: (payload: Uint8Array) => Parsed<AgentHello>;
}

export type JoinVerdict = { readonly type: "joined"; readonly hello: AgentHello } | { readonly type: "refused"; readonly reason: string };

export async function verifyJoin(attempt: JoinAttempt): Promise<JoinVerdict> {
  const decoded = decodeFrames(attempt.message);
  const frame = decoded.type === "frames" && decoded.frames.length === 1 ? decoded.frames[0] : undefined;
  if (frame?.type !== "hello") return refused("the first message is not one HELLO");
  const parsed = attempt.parse(frame.payload);
  if (parsed.type === "invalid") return refused(`HELLO: ${parsed.reason}`);
  const hello = parsed.payload;
  const fault = faultOf(hello, attempt);
  if (fault !== undefined) return refused(fault);
  const statement = joinStatement(hello, attempt.nonce);
  return (await isSigned(hello, statement)) ? { type: "joined", hello } : refused("the signature does not fit the cluster's key");
}

function faultOf(hello: AgentHello, attempt: JoinAttempt): string | undefined {
  if (hello.cluster !== attempt.claims.cluster) return "HELLO names another cluster than the URL";
  if (attempt.claims.podUid !== undefined && hello.replica !== attempt.claims.podUid)
    return "the replica is not the pod that the token is bound to";
  if (hello.replica.length === 0 || hello.replica.length > 128) return "the replica has no usable name";
  return undefined;
}

async function isSigned(hello: AgentHello, statement: Uint8Array): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey("jwk", { kty: "OKP", crv: "Ed25519", x: hello.key }, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, fromBase64Url(hello.signature), statement);
  } catch {
    return false; // a key or signature that is no Ed25519 key or no base64url
  }
}

function fromBase64Url(text: string): Uint8Array {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

function refused(reason: string): JoinVerdict {
  return { type: "refused", reason };
}
