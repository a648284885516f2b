/**
 * The Durable Object of one cluster: a switch between users' links and its agents' lanes. It joins agents (projected ServiceAccount
 * token, checked by the Worker before it comes here, and the cluster's pinned key, checked here), picks a lane for each stream, and
 * carries frames. It never opens a user's payload. What it must remember while it sleeps stands in socket attachments and in SQLite;
 * the maps below are rebuilt from them.
 */
import { DurableObject } from "cloudflare:workers";
import { frameTypes, encodeFrames } from "#core/tunnel/frame.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { chooseProtocol, heartbeatRequest, heartbeatResponse, tunnelVersions } from "#core/tunnel/handshake.ts";
import { failureSentence, failureStatus, warningHeader } from "#core/kube/status.ts";
import { frameHeaderBytes, handshakeMs, laneCheckMs, laneDeadMs } from "#core/tunnel/limits.ts";
import { encodePayload, parseAgentHello } from "#core/tunnel/payload.ts";
import type { StreamClass } from "#core/tunnel/payload.ts";
import { linkStream, Switchboard } from "#core/tunnel/switchboard.ts";
import type { Circuit, Delivery } from "#core/tunnel/switchboard.ts";
import { parseAgentReport } from "#core/agent-report.ts";
import type { AgentState } from "#core/gateway-api.ts";
import { AgentBook } from "./agent-book.ts";
import { DiscoveryStore } from "./discovery-store.ts";
import type { DiscoveryAnswer } from "./discovery-store.ts";
import { verifyJoin } from "./join.ts";
import { registryOf } from "./stubs.ts";
import { ExchangeLink, isJoinedLane, LaneSocket, SocketLink } from "./sockets.ts";
import type { ExchangeAnswer, HubLink, LaneAttachment, LinkAttachment } from "./sockets.ts";

type HubCircuit = Circuit<LaneSocket, HubLink>;

/** What the Worker tells the hub of a joining agent after it verified its ServiceAccount token. */
export interface JoinClaims {
  readonly cluster: string;
  /** The pod's UID from the token, or the replica's own name where tokens are not bound to pods. */
  readonly podUid: string | undefined;
  readonly subject: string;
}

/** What one instance of the object has done since its constructor ran. */
export interface HubInstance {
  readonly instance: string;
  /** RFC 3339. */
  readonly startedAt: string;
  /** Messages of agents and users that woke or found it awake; heartbeats do neither. */
  readonly handled: number;
  readonly circuits: number;
  readonly lanes: number;
}

export class ClusterHub extends DurableObject<Env> {
  readonly #board = new Switchboard<LaneSocket, HubLink>();
  readonly #lanes = new Map<WebSocket, LaneSocket>();
  readonly #links = new Map<WebSocket, HubLink>();
  readonly #exchanges = new Map<string, ExchangeLink>();
  readonly #book: AgentBook;
  readonly #discovery: DiscoveryStore;
  readonly #instance = { instance: crypto.randomUUID(), startedAt: new Date().toISOString() };
  #handled = 0;
  #watch: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(heartbeatRequest, heartbeatResponse));
    this.#book = new AgentBook(ctx.storage.sql);
    this.#discovery = new DiscoveryStore(ctx.storage.sql);
    this.#restore();
  }

  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    switch (url.pathname) {
      case "/lane":
        return this.#acceptLane(request);
      case "/link":
        return this.#acceptLink(streamClass(url));
      default:
        return new Response(null, { status: 404 });
    }
  }

  /**
   * A short request: all of its frames at once, and the agent's frames that answer it, at once too where they come at once.
   * @param exchange the Worker's name for it, random
   */
  exchange(exchange: string, wanted: StreamClass, bytes: Uint8Array): Promise<ExchangeAnswer> | ExchangeAnswer {
    const lane = this.#pickLane(wanted);
    if (lane === undefined) return { type: "refused", code: "AGENT_OFFLINE", lastSeenMs: this.#book.lastSeenMs() };
    const link = new ExchangeLink((isComplete) => {
      this.#exchanges.delete(exchange);
      if (isComplete) this.#board.part(link);
      else this.#part(link, "CANCEL");
    });
    if (this.#board.join(lane, link) === undefined) return { type: "refused", code: "OVERLOADED", lastSeenMs: undefined };
    this.#exchanges.set(exchange, link);
    this.#watchSoon();
    this.#fromLink(link, bytes);
    return link.answer;
  }

  /** Frames that a Worker sends after the first ones of an exchange, such as credit for a long answer. */
  push(exchange: string, bytes: Uint8Array): void {
    const link = this.#exchanges.get(exchange);
    if (link !== undefined) this.#fromLink(link, bytes);
  }

  /** The cluster's agents as they are now. */
  agents(): readonly AgentState[] {
    return this.#book.describe([...this.#lanes.values()].filter(isJoinedLane));
  }

  /** This instance: a new one after each time the object slept. */
  describeInstance(): HubInstance {
    return { ...this.#instance, handled: this.#handled, circuits: this.#board.circuitCount, lanes: this.#lanes.size };
  }

  rememberDiscovery(key: string, answer: DiscoveryAnswer): void {
    this.#discovery.put(key, answer);
  }

  discovery(key: string): DiscoveryAnswer | undefined {
    return this.#discovery.get(key);
  }

  /** Ends everything and forgets the cluster, its pinned key included. */
  async forget(): Promise<void> {
    for (const lane of this.#lanes.keys()) this.#dropLane(lane, 4403, "the cluster was removed");
    this.#lanes.clear();
    await this.ctx.storage.deleteAll();
    this.#book.prepare();
    this.#discovery.prepare();
  }

  override webSocketMessage(socket: WebSocket, message: ArrayBuffer | string): void {
    this.#handled += 1;
    const lane = this.#lanes.get(socket);
    if (typeof message === "string") return; // heartbeats of runtimes whose automatic answer is off; anything else in text means nothing
    if (lane !== undefined) return this.#fromLane(lane, new Uint8Array(message));
    const link = this.#links.get(socket);
    if (link !== undefined) this.#fromLink(link, new Uint8Array(message));
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    this.#gone(socket, code === 1000);
  }

  override webSocketError(socket: WebSocket): void {
    this.#gone(socket, false);
  }

  #acceptLane(request: Request): Response {
    const chosen = chooseProtocol(request.headers.get("sec-websocket-protocol"));
    const claims: JoinClaims = JSON.parse(request.headers.get("x-sallyport-join") ?? "{}");
    if (chosen === undefined) return refuseVersion();
    const { client, server } = socketPair();
    const attachment: LaneAttachment = {
      role: "lane",
      id: crypto.randomUUID(),
      claims,
      nonce: crypto.randomUUID(),
      openedAtMs: Date.now(),
      joined: undefined,
    };
    this.ctx.acceptWebSocket(server, ["lane"]);
    const lane = new LaneSocket(server, attachment);
    lane.save();
    this.#lanes.set(server, lane);
    server.send(
      encodeFrames([
        { type: "hello", payload: encodePayload({ version: chosen.version, build: this.env.BUILD ?? "dev", nonce: attachment.nonce }) },
      ]),
    );
    this.#watchSoon();
    return new Response(null, { status: 101, webSocket: client, headers: { "sec-websocket-protocol": chosen.protocol } });
  }

  #acceptLink(wanted: StreamClass): Response {
    const lane = this.#pickLane(wanted);
    if (lane === undefined) return Response.json({ code: "AGENT_OFFLINE", lastSeenMs: this.#book.lastSeenMs() }, { status: 503 });
    const { client, server } = socketPair();
    const link = new SocketLink(server);
    const circuit = this.#board.join(lane, link);
    if (circuit === undefined) return Response.json({ code: "OVERLOADED" }, { status: 503 });
    this.ctx.acceptWebSocket(server, ["link"]);
    server.serializeAttachment({ role: "link", lane: lane.attachment.id, id: circuit.id } satisfies LinkAttachment);
    this.#links.set(server, link);
    this.#watchSoon();
    return new Response(null, { status: 101, webSocket: client });
  }

  #fromLane(lane: LaneSocket, message: Uint8Array): void {
    if (lane.attachment.joined === undefined) {
      if (lane.isJoining) this.#dropLane(lane.socket, 1008, "frames before the lane has joined");
      else void this.#join(lane, message);
      return;
    }
    lane.received(message.length);
    for (const delivery of this.#board.fromLane(lane, message)) this.#deliver(lane, delivery);
  }

  #deliver(lane: LaneSocket, delivery: Delivery<HubLink>): void {
    switch (delivery.type) {
      case "link":
        delivery.link.deliver(delivery.bytes, delivery);
        return;
      case "lane":
        if (lane.isFlooding(Date.now())) return this.#break(lane, "a flood of frames about the lane itself");
        this.#laneFrame(lane, delivery.frameType, delivery.bytes.subarray(frameHeaderBytes));
        return;
      case "violation":
        return this.#break(lane, delivery.reason);
    }
  }

  /** Ends a lane that breaks the protocol, once. */
  #break(lane: LaneSocket, reason: string): void {
    if (!this.#lanes.has(lane.socket)) return;
    this.#alarm(lane, reason);
    this.#dropLane(lane.socket, 1008, reason);
  }

  #laneFrame(lane: LaneSocket, type: number, payload: Uint8Array): void {
    if (type === frameTypes.ping) lane.socket.send(encodeFrames([{ type: "pong", payload }]));
    if (type === frameTypes.goaway) lane.update({ ...lane.attachment, draining: true });
    if (type !== frameTypes.status) return;
    const report = parseAgentReport(payload);
    const { joined, claims } = lane.attachment;
    if (report.type === "invalid" || joined === undefined) return;
    this.#book.report(joined.replica, report.value.roles);
    if (!this.#book.isNewKeys(report.value.issuerKeys)) return;
    this.ctx.waitUntil(registryOf(this.env).reportKeys(claims.cluster, report.value.issuerKeys));
  }

  async #join(lane: LaneSocket, message: Uint8Array): Promise<void> {
    const { claims, nonce } = lane.attachment;
    lane.isJoining = true;
    const verdict = await verifyJoin({ message, claims, nonce, parse: parseAgentHello });
    if (!this.#lanes.has(lane.socket)) return; // it was closed while its signature was verified
    if (verdict.type === "refused") return this.#refuse(lane, verdict.reason);
    const { hello } = verdict;
    this.#book.pin(claims.cluster, hello.key);
    // Behind the wait for the signature, so that of two keys that come first together one is refused.
    if (this.#book.pinnedKey(claims.cluster) !== hello.key) return this.#refuse(lane, "another key is pinned for this cluster");
    for (const older of this.#lanes.values()) {
      if (older !== lane && older.attachment.joined?.replica === hello.replica && older.attachment.joined.lane === hello.lane) {
        this.#dropLane(older.socket, 4409, "replaced by a newer connection of the same replica");
      }
    }
    lane.update({
      ...lane.attachment,
      joined: { replica: hello.replica, lane: hello.lane, build: hello.build, node: hello.node, atMs: Date.now() },
    });
    this.#board.addLane(lane);
    this.#book.seen(Date.now());
    lane.socket.send(encodeFrames([{ type: "status", payload: encodePayload({ joined: true }) }]));
  }

  #refuse(lane: LaneSocket, reason: string): void {
    this.#alarm(lane, reason);
    lane.socket.close(4403, reason);
  }

  #fromLink(link: HubLink, message: Uint8Array): void {
    const routed = this.#board.fromLink(link, message);
    if (routed === undefined) return;
    if ("fault" in routed) {
      this.#part(link, "PROTOCOL");
      link.close(1011);
      return;
    }
    routed.circuit.lane.socket.send(message);
    if (routed.closed) link.close(1000);
  }

  #pickLane(wanted: StreamClass): LaneSocket | undefined {
    const kind = wanted === "bulk" ? "bulk" : "interactive";
    const usable = [...this.#lanes.values()].filter(
      (lane) => isJoinedLane(lane) && lane.attachment.draining !== true && this.#isAlive(lane),
    );
    const ofKind = usable.filter((lane) => lane.attachment.joined?.lane === kind);
    const candidates = ofKind.length > 0 ? ofKind : usable;
    return candidates.reduce<LaneSocket | undefined>(
      (best, lane) => (best === undefined || this.#board.load(lane) < this.#board.load(best) ? lane : best),
      undefined,
    );
  }

  #isAlive(lane: LaneSocket): boolean {
    const heard = this.ctx.getWebSocketAutoResponseTimestamp(lane.socket)?.getTime() ?? lane.attachment.openedAtMs;
    return Date.now() - heard < laneDeadMs;
  }

  /** While streams run or agents join, looks for lanes that went silent; otherwise nothing keeps the object awake. */
  #watchSoon(): void {
    if (this.#watch !== null) return;
    this.#watch = setTimeout(() => {
      this.#watch = null;
      for (const lane of this.#lanes.values()) {
        const late = !isJoinedLane(lane) && Date.now() - lane.attachment.openedAtMs > handshakeMs;
        if (late || !this.#isAlive(lane)) this.#dropLane(lane.socket, 4408, late ? "no handshake in time" : "no heartbeat in time");
      }
      const joining = [...this.#lanes.values()].some((lane) => !isJoinedLane(lane));
      if (joining || this.#board.circuitCount > 0) this.#watchSoon();
    }, laneCheckMs);
  }

  #gone(socket: WebSocket, inOrder: boolean): void {
    if (this.#lanes.has(socket)) {
      this.#dropLane(socket, 1000, "closed");
      return;
    }
    const link = this.#links.get(socket);
    if (link === undefined) return;
    this.#links.delete(socket);
    if (inOrder) this.#board.part(link);
    else this.#part(link, "CANCEL");
    closeQuietly(socket, 1000, "");
  }

  #part(link: HubLink, code: ResetCode): void {
    const circuit = this.#board.part(link);
    if (circuit === undefined) return;
    circuit.lane.socket.send(encodeFrames([{ type: "reset", stream: circuit.id, code, reason: "" }]));
  }

  #dropLane(socket: WebSocket, code: number, reason: string): void {
    const lane = this.#lanes.get(socket);
    this.#lanes.delete(socket);
    if (lane === undefined) return;
    const lost: readonly HubCircuit[] = this.#board.removeLane(lane);
    const farewell = encodeFrames([{ type: "reset", stream: linkStream, code: "AGENT_GONE", reason }]);
    for (const { link } of lost) link.deliver(farewell.slice(), { ended: false, closed: true });
    if (isJoinedLane(lane)) this.#book.seen(Date.now());
    closeQuietly(socket, code, reason);
  }

  #alarm(lane: LaneSocket, reason: string): void {
    this.#book.refuse(Date.now(), reason);
    console.warn(
      JSON.stringify({ event: "agent-refused", cluster: lane.attachment.claims.cluster, subject: lane.attachment.claims.subject, reason }),
    );
  }

  #restore(): void {
    const lanes = new Map<string, LaneSocket>();
    for (const socket of this.ctx.getWebSockets("lane")) {
      const lane = LaneSocket.restore(socket);
      this.#lanes.set(socket, lane);
      lanes.set(lane.attachment.id, lane);
      if (isJoinedLane(lane)) this.#board.addLane(lane);
    }
    for (const socket of this.ctx.getWebSockets("link")) {
      const attachment: LinkAttachment = socket.deserializeAttachment();
      const lane = lanes.get(attachment.lane);
      const link = new SocketLink(socket);
      this.#links.set(socket, link);
      if (lane !== undefined) this.#board.restore({ lane, link, id: attachment.id });
    }
    if (this.#board.circuitCount > 0) this.#watchSoon();
  }
}

/** The agent logs the warning, and whoever tries by hand reads the Status. */
function refuseVersion(): Response {
  const message = `this gateway speaks versions [${tunnelVersions.join(", ")}] of the tunnel protocol, and the agent offered none of them`;
  const status = failureStatus("AGENT_TOO_OLD", message);
  const headers = { "cache-control": "no-store", warning: warningHeader(failureSentence("AGENT_TOO_OLD", message)) };
  return Response.json(status, { status: status.code, headers });
}

function streamClass(url: URL): StreamClass {
  const text = url.searchParams.get("class");
  return text === "interactive" || text === "bulk" ? text : "normal";
}

function socketPair(): { readonly client: WebSocket; readonly server: WebSocket } {
  const { 0: client, 1: server } = new WebSocketPair();
  return { client, server };
}

function closeQuietly(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason.slice(0, 100));
  } catch {
    // already closed by the peer: there is nobody left to tell
  }
}
