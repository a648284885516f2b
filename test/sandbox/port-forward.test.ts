import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { valueAt } from "#sandbox/objects/json.ts";
import { readSpdyFrame, writeSpdyFrame } from "#sandbox/streams/spdy-frame.ts";
import type { SpdyFrame } from "#sandbox/streams/spdy-frame.ts";
import { HeaderReader, HeaderWriter } from "#sandbox/streams/spdy-headers.ts";
import { spdyDictionary } from "#sandbox/streams/spdy-dictionary.ts";
import { listAt } from "#sandbox/objects/json.ts";
import { pod, podUntil, startTestSandbox } from "./harness.ts";
import type { Client } from "./harness.ts";
import { RawWebSocket } from "./websocket-client.ts";
import { createHash } from "node:crypto";

const path = "/api/v1/namespaces/default/pods/site/portforward";
const protocol = "SPDY/3.1+portforward.k8s.io";
const get = (target: string): Buffer => Buffer.from(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);

/** kubectl's end of a port-forward session. */
class Forwarder {
  readonly #socket: RawWebSocket;
  readonly #writer = new HeaderWriter();
  #buffered: Buffer = Buffer.alloc(0);
  #nextId = 1;

  private constructor(socket: RawWebSocket) {
    this.#socket = socket;
  }

  static async open(client: Client): Promise<Forwarder> {
    const socket = await RawWebSocket.open(client, path, protocol);
    if (!(socket instanceof RawWebSocket)) throw new Error(`refused: ${socket.text}`);
    expect(socket.protocol).toBe(protocol);
    return new Forwarder(socket);
  }

  /** Opens the pair of streams of one connection; gives the ids of error and data. */
  async connect(port: string, requestId: string): Promise<{ readonly error: number; readonly data: number }> {
    const error = await this.stream({ streamtype: "error", port, requestid: requestId });
    this.write({ type: "data", streamId: error, fin: true, payload: Buffer.alloc(0) });
    return { error, data: await this.stream({ streamtype: "data", port, requestid: requestId }) };
  }

  async stream(headers: Readonly<Record<string, string>>): Promise<number> {
    const streamId = this.#nextId;
    this.#nextId += 2;
    this.write({ type: "synStream", streamId, fin: false, headers: await this.#writer.write(headers) });
    return streamId;
  }

  write(frame: Exclude<SpdyFrame, { type: "ignored" }>): void {
    this.#socket.send(writeSpdyFrame(frame));
  }

  bytes(payload: Buffer, opcode?: number): void {
    this.#socket.send(payload, opcode);
  }

  /** The next frame; undefined when the server has closed. */
  async next(): Promise<SpdyFrame | undefined> {
    for (;;) {
      const read = readSpdyFrame(this.#buffered);
      if (read.type === "frame") {
        this.#buffered = this.#buffered.subarray(read.size);
        return read.frame;
      }
      const message = await this.#socket.next();
      if (message === undefined || message.opcode === 8) return undefined;
      this.#buffered = Buffer.concat([this.#buffered, message.payload]);
    }
  }

  async until<T extends SpdyFrame["type"]>(type: T, streamId?: number): Promise<Extract<SpdyFrame, { type: T }>> {
    for (;;) {
      const frame = await this.next();
      if (frame === undefined) throw new Error(`the session ended before ${type}`);
      if (frame.type === type && (streamId === undefined || ("streamId" in frame && frame.streamId === streamId)))
        return frame as Extract<SpdyFrame, { type: T }>; // of that type
    }
  }

  /** All data of streams until each has ended. */
  async read(ids: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const texts = new Map<number, string>(ids.map((id) => [id, ""]));
    const open = new Set(ids);
    while (open.size > 0) {
      const frame = await this.until("data");
      texts.set(frame.streamId, `${texts.get(frame.streamId) ?? ""}${frame.payload.toString("latin1")}`);
      if (frame.fin) open.delete(frame.streamId);
    }
    return texts;
  }

  close(): void {
    this.#socket.close();
  }
}

describe("port-forward over WebSocket", () => {
  let client: Client;

  beforeAll(async () => {
    client = await startTestSandbox();
    await client.post("/api/v1/namespaces/default/pods", pod("site", { image: "web", ports: [{ containerPort: 8080 }] }));
    await podUntil(client, "site", (object) => valueAt(listAt(object, "status", "containerStatuses")[0], "ready") === true);
  });
  afterAll(() => client.sandbox.stop());

  it("uses the dictionary of the SPDY draft", () => {
    expect(createHash("sha256").update(spdyDictionary()).digest("hex")).toBe(
      "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02",
    );
  });

  it("carries a request to the pod's port, and both ends close", async () => {
    const session = await Forwarder.open(client);
    const { data } = await session.connect("8080", "0");
    session.write({ type: "data", streamId: data, fin: true, payload: get("/healthz") });
    const text = (await session.read([data])).get(data);
    expect(text).toContain("200 OK");
    expect(text).toContain("ok\n");
    session.close();
  });

  it("keeps fifty connections in one session apart", async () => {
    const session = await Forwarder.open(client);
    const pairs = [];
    for (let index = 0; index < 50; index += 1) pairs.push(await session.connect("8080", String(index)));
    for (const [index, { data }] of pairs.entries())
      session.write({ type: "data", streamId: data, fin: false, payload: get(`/page-${index}`) });
    const texts = await session.read(pairs.map(({ data }) => data));
    expect(pairs.map(({ data }) => /no page \/(page-\d+)/.exec(texts.get(data) ?? "")?.[1])).toEqual(
      pairs.map((_, index) => `page-${index}`),
    );
    session.close();
  });

  it("pairs streams without a request id by their numbers", async () => {
    const session = await Forwarder.open(client);
    await session.stream({ streamtype: "error", port: "8080" });
    const data = await session.stream({ streamtype: "data", port: "8080" });
    session.write({ type: "data", streamId: data, fin: false, payload: get("/healthz") });
    expect((await session.read([data])).get(data)).toContain("200 OK");
    session.close();
  });

  it("tells on the error stream that nothing listens, and the session goes on", async () => {
    const session = await Forwarder.open(client);
    const closed = await session.connect("9999", "0");
    const texts = await session.read([closed.error]);
    expect(texts.get(closed.error)).toContain("error forwarding port 9999 to pod site_default");
    await session.until("reset", closed.data);
    const { data } = await session.connect("8080", "1");
    session.write({ type: "data", streamId: data, fin: false, payload: get("/healthz") });
    expect((await session.read([data])).get(data)).toContain("200 OK");
    session.close();
  });

  it("answers pings of the client and none of its own", async () => {
    const session = await Forwarder.open(client);
    session.write({ type: "ping", id: 2 });
    session.write({ type: "ping", id: 7 });
    expect(await session.until("ping")).toEqual({ type: "ping", id: 7 });
    session.close();
  });

  it.each([
    ["no port", { streamtype: "data", requestid: "1" }],
    ["port 0", { streamtype: "data", port: "0", requestid: "1" }],
    ["a port that is no number", { streamtype: "data", port: "http", requestid: "1" }],
    ["no type", { port: "8080", requestid: "1" }],
    ["an unknown type", { streamtype: "stdin", port: "8080", requestid: "1" }],
  ])("refuses a stream with %s", async (_what, headers) => {
    const session = await Forwarder.open(client);
    const id = await session.stream(headers);
    expect((await session.until("reset", id)).streamId).toBe(id);
    session.close();
  });

  it("refuses a second data stream of the same request", async () => {
    const session = await Forwarder.open(client);
    await session.connect("8080", "1");
    const again = await session.stream({ streamtype: "data", port: "8080", requestid: "1" });
    await session.until("reset", again);
    session.close();
  });

  it.each<[string, Buffer, number]>([
    ["a frame of another SPDY version", Buffer.from("80020001000000000000", "hex"), 2],
    ["a header block that is no zlib", writeSpdyFrame({ type: "synStream", streamId: 1, fin: false, headers: Buffer.from("nonsense") }), 2],
    ["a control frame that is too short", Buffer.from("8003000300000001ff", "hex"), 2],
    ["a control frame of 16 MiB", Buffer.from("8003000100ffffff", "hex"), 2],
    ["text", Buffer.from("hello"), 1],
  ])("closes the session after %s", async (_what, bytes, opcode) => {
    const session = await Forwarder.open(client);
    session.bytes(bytes, opcode);
    while ((await session.next()) !== undefined);
    session.close();
  });

  it.each([
    [path, "v4.channel.k8s.io", 400],
    ["/api/v1/namespaces/default/pods/nope/portforward", protocol, 404],
    ["/api/v1/namespaces/default/configmaps", protocol, 400],
  ])("refuses the upgrade of %s with %s: %d", async (target, offered, status) => {
    expect(await RawWebSocket.open(client, target, offered)).toMatchObject({ status });
  });
});

describe("SPDY header blocks", () => {
  it("survive one compressor for many blocks", async () => {
    const writer = new HeaderWriter();
    const reader = new HeaderReader();
    for (const headers of [{ streamtype: "data", port: "80" }, {}, { streamtype: "error", requestid: "x".repeat(5000) }]) {
      expect(await reader.read(await writer.write(headers))).toEqual(headers);
    }
  });

  it("refuse a block that unpacks to more than the limit", async () => {
    const block = await new HeaderWriter().write({ bomb: "0".repeat(3 * 1024 * 1024) });
    expect(block.length).toBeLessThan(10_000);
    expect(await new HeaderReader().read(block)).toBeUndefined();
  });
});
