/**
 * The JSON payloads of OPEN, HEAD, HELLO and GOAWAY frames. Both sides parse what the other sent: a payload is either exactly what
 * its type says, or refused with the field that is wrong.
 */

/** Header lines in order, repeated names kept apart. */
export type HeaderPairs = readonly (readonly [string, string])[];

/** What kind of traffic a stream is, which decides the lane that carries it. */
export type StreamClass = "interactive" | "normal" | "bulk";

/** OPEN: one request of one user. */
export interface OpenPayload {
  /**
   * `http`: a request and its response. `websocket`: an upgrade, then messages. `upgrade`: one to another protocol, then bytes. `forward`: a
   * connection of the agent's own, then its bytes or datagrams.
   */
  readonly kind: "http" | "websocket" | "upgrade" | "forward";
  /** The protocol to switch to, such as `SPDY/3.1`: for the kind `upgrade`, and only then. */
  readonly upgrade?: string;
  readonly class: StreamClass;
  readonly cluster: string;
  readonly method: string;
  /** Path and query, byte for byte as they were parsed and authorized. */
  readonly target: string;
  readonly headers: HeaderPairs;
  /** The user's own bearer token, which the agent verifies again. */
  readonly token: string;
  readonly clientAddress: string;
  readonly auditId: string;
  /** Whether DATA follows for a request body. */
  readonly hasBody: boolean;
  /** Credit that the opener gives beyond the initial window, in bytes. */
  readonly receiveBonus: number;
}

/** HEAD: the head of the response, or what the upgrade was answered with. */
export interface HeadPayload {
  readonly status: number;
  readonly headers: HeaderPairs;
  /** The WebSocket sub-protocol that was chosen, for status 101. */
  readonly protocol?: string;
  /** When the user's credential ends, in milliseconds since the epoch. */
  readonly expiresAtMs?: number;
  /** Where the time went at the agent, in milliseconds. */
  readonly timing: { readonly verifyMs: number; readonly upstreamMs: number };
}

/** HELLO from the edge: the first frame on a lane. */
export interface EdgeHello {
  readonly version: number;
  readonly build: string;
  /** Random for each connection, so that a recorded join is worth nothing. */
  readonly nonce: string;
}

/** HELLO from the agent: who it is, with the proof that it holds the cluster's key. */
export interface AgentHello {
  readonly version: number;
  readonly build: string;
  readonly cluster: string;
  /** The pod's UID: tells replicas of one agent apart. */
  readonly replica: string;
  readonly lane: "interactive" | "bulk";
  readonly node: string;
  /** The cluster's public key: an Ed25519 JWK's `x` (RFC 8037). */
  readonly key: string;
  /** Ed25519 over `joinStatement`, base64url. */
  readonly signature: string;
}

/** GOAWAY: no new streams on this lane. */
export interface GoAway {
  readonly reason: string;
}

/** A parsed payload, or the field that is wrong. */
export type Parsed<Payload> =
  | { readonly type: "parsed"; readonly payload: Payload }
  | { readonly type: "invalid"; readonly reason: string };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Any payload as bytes. */
export function encodePayload(
  payload: OpenPayload | HeadPayload | EdgeHello | AgentHello | GoAway | Readonly<Record<string, unknown>>,
): Uint8Array {
  return encoder.encode(JSON.stringify(payload));
}

/** What the agent signs when it joins: bound to the cluster, this connection's nonce, the replica and the lane. */
export function joinStatement(hello: Pick<AgentHello, "cluster" | "replica" | "lane">, nonce: string): Uint8Array {
  return encoder.encode(`sallyport join v1\n${hello.cluster}\n${nonce}\n${hello.replica}\n${hello.lane}`);
}

const streamKinds = ["http", "websocket", "upgrade", "forward"] as const;

export function parseOpen(bytes: Uint8Array): Parsed<OpenPayload> {
  return parse(bytes, (fields) => ({
    kind: fields.oneOf("kind", streamKinds),
    ...(fields.oneOf("kind", streamKinds) === "upgrade" && { upgrade: fields.text("upgrade") }),
    class: fields.oneOf("class", ["interactive", "normal", "bulk"]),
    cluster: fields.text("cluster"),
    method: fields.text("method"),
    target: fields.text("target"),
    headers: fields.headers("headers"),
    token: fields.text("token"),
    clientAddress: fields.text("clientAddress"),
    auditId: fields.text("auditId"),
    hasBody: fields.flag("hasBody"),
    receiveBonus: fields.count("receiveBonus"),
  }));
}

export function parseHead(bytes: Uint8Array): Parsed<HeadPayload> {
  return parse(bytes, (fields) => {
    const timing = fields.object("timing");
    const status = fields.count("status");
    if (status < 101 || status > 599) fields.fail("status");
    return {
      status,
      headers: fields.headers("headers"),
      ...(fields.has("protocol") && { protocol: fields.text("protocol") }),
      ...(fields.has("expiresAtMs") && { expiresAtMs: fields.count("expiresAtMs") }),
      timing: { verifyMs: timing.amount("verifyMs"), upstreamMs: timing.amount("upstreamMs") },
    };
  });
}

export function parseEdgeHello(bytes: Uint8Array): Parsed<EdgeHello> {
  return parse(bytes, (fields) => ({ version: fields.count("version"), build: fields.text("build"), nonce: fields.text("nonce") }));
}

export function parseAgentHello(bytes: Uint8Array): Parsed<AgentHello> {
  return parse(bytes, (fields) => ({
    version: fields.count("version"),
    build: fields.text("build"),
    cluster: fields.text("cluster"),
    replica: fields.text("replica"),
    lane: fields.oneOf("lane", ["interactive", "bulk"]),
    node: fields.text("node"),
    key: fields.text("key"),
    signature: fields.text("signature"),
  }));
}

function parse<Payload>(bytes: Uint8Array, read: (fields: Fields) => Payload): Parsed<Payload> {
  try {
    return { type: "parsed", payload: read(new Fields(JSON.parse(decoder.decode(bytes)), "payload")) };
  } catch (thrown) {
    return { type: "invalid", reason: thrown instanceof FieldFault ? thrown.message : "payload is not JSON in UTF-8" };
  }
}

class FieldFault extends Error {}

/** Reads the fields of one JSON object, strictly. */
class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #name: string;

  constructor(value: unknown, name: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new FieldFault(`${name} is not an object`);
    this.#object = value as Readonly<Record<string, unknown>>; // an object, as was just checked
    this.#name = name;
  }

  fail(field: string): never {
    throw new FieldFault(`${this.#name}.${field} is missing or wrong`);
  }

  has(field: string): boolean {
    return Object.hasOwn(this.#object, field);
  }

  object(field: string): Fields {
    return new Fields(this.#get(field), `${this.#name}.${field}`);
  }

  text(field: string): string {
    const value = this.#get(field);
    return typeof value === "string" ? value : this.fail(field);
  }

  flag(field: string): boolean {
    const value = this.#get(field);
    return typeof value === "boolean" ? value : this.fail(field);
  }

  /** A whole number from 0. */
  count(field: string): number {
    const value = this.#get(field);
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : this.fail(field);
  }

  /** A number from 0. */
  amount(field: string): number {
    const value = this.#get(field);
    return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : this.fail(field);
  }

  oneOf<Choice extends string>(field: string, choices: readonly Choice[]): Choice {
    const value = this.#get(field);
    return choices.find((choice) => choice === value) ?? this.fail(field);
  }

  headers(field: string): HeaderPairs {
    const value = this.#get(field);
    if (!Array.isArray(value)) return this.fail(field);
    return value.map((pair: unknown) => {
      if (!Array.isArray(pair) || pair.length !== 2) return this.fail(field);
      const [name, text]: unknown[] = pair;
      return typeof name === "string" && typeof text === "string" ? ([name, text] as const) : this.fail(field);
    });
  }

  #get(field: string): unknown {
    return Object.hasOwn(this.#object, field) ? this.#object[field] : undefined;
  }
}
