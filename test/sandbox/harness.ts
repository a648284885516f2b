/** A sandbox for tests, and a client that sends exactly the header lines it is told to. */
import { once } from "node:events";
import { request } from "node:https";
import type { ClientRequest, IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import type { Clock } from "#sandbox/clock.ts";
import { isObject, parseJson } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { startSandbox } from "#sandbox/sandbox.ts";
import type { Sandbox, SandboxOptions } from "#sandbox/sandbox.ts";

/** A clock that moves only when a test moves it. */
export class TestClock implements Clock {
  #nowMs = Date.now(); // today, because TLS checks the certificate's dates
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, run };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#nowMs);
    for (const timer of due) timer.run();
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  /** The body as a JSON object; empty when it is none. */
  readonly body: JsonObject;
}

export interface Ask {
  readonly method?: string;
  readonly body?: Json;
  /** Bytes instead of JSON. */
  readonly bytes?: Buffer;
  readonly contentType?: string;
  /** "" sends no Authorization header. */
  readonly token?: string;
  /** Further header lines; repeated names stay repeated. */
  readonly lines?: readonly (readonly [string, string])[];
}

/** A client of one sandbox; the admin unless a token says otherwise. */
export class Client {
  readonly sandbox: Sandbox;

  constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
  }

  async ask(path: string, ask: Ask = {}): Promise<Answer> {
    const response = await this.#open(path, ask);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString("utf8");
    const parsed = parseJson(text);
    return { status: response.statusCode ?? 0, headers: response.headers, text, body: isObject(parsed) ? parsed : {} };
  }

  get(path: string, lines: Ask["lines"] = []): Promise<Answer> {
    return this.ask(path, { lines });
  }

  post(path: string, body: Json): Promise<Answer> {
    return this.ask(path, { method: "POST", body });
  }

  patch(path: string, body: Json, contentType: string): Promise<Answer> {
    return this.ask(path, { method: "PATCH", body, contentType });
  }

  /** Reads a stream line by line. */
  async lines(path: string, lines: Ask["lines"] = []): Promise<LineStream> {
    return new LineStream(await this.#open(path, { lines }));
  }

  /** An upgrade request; resolves with its connection or with the refusal. */
  upgrade(path: string, lines: Ask["lines"] = []): ClientRequest {
    const headers = [
      ["connection", "Upgrade"],
      ["upgrade", "websocket"],
      ["sec-websocket-version", "13"],
      ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
      ...lines,
    ] as const;
    return this.#request(path, { lines: headers });
  }

  async #open(path: string, ask: Ask): Promise<IncomingMessage> {
    const body = ask.bytes ?? (ask.body === undefined ? undefined : Buffer.from(JSON.stringify(ask.body)));
    const length = ["content-length", String(body?.length ?? 0)] as const;
    const outgoing = this.#request(path, { ...ask, lines: [length, ...(ask.lines ?? [])] });
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    return response;
  }

  #request(path: string, ask: Ask): ClientRequest {
    const token = ask.token ?? this.sandbox.adminToken;
    const own = [
      ...(token === "" ? [] : [["authorization", `Bearer ${token}`] as const]),
      ["content-type", ask.contentType ?? "application/json"] as const,
    ];
    const headers = [["host", "localhost"] as const, ...own, ...(ask.lines ?? [])].flat();
    const url = new URL(this.sandbox.url);
    return request({
      host: url.hostname,
      port: url.port,
      ca: this.sandbox.caPem,
      method: ask.method ?? "GET",
      path,
      headers,
      agent: false,
    });
  }
}

/** Lines of a response that stays open. */
export class LineStream {
  readonly #response: IncomingMessage;
  readonly #iterator: AsyncIterator<string>;

  constructor(response: IncomingMessage) {
    this.#response = response;
    response.on("error", () => undefined); // closing it early is an error to Node
    this.#iterator = createInterface({ input: response })[Symbol.asyncIterator]();
  }

  get status(): number {
    return this.#response.statusCode ?? 0;
  }

  /** The next line; undefined at the end. */
  async next(): Promise<string | undefined> {
    const result = await this.#iterator.next();
    return result.done === true ? undefined : result.value;
  }

  async nextJson(): Promise<JsonObject> {
    const parsed = parseJson((await this.next()) ?? "");
    return isObject(parsed) ? parsed : {};
  }

  /** Reads until a line matches. */
  async until(matches: (line: string) => boolean): Promise<string> {
    for (;;) {
      const line = await this.next();
      if (line === undefined) throw new Error("the stream ended too early");
      if (matches(line)) return line;
    }
  }

  close(): void {
    this.#response.destroy();
  }
}

/** Starts a sandbox without sample workloads. */
export async function startTestSandbox(options: SandboxOptions = {}): Promise<Client> {
  return new Client(await startSandbox({ sampleData: "none", ...options }));
}

/** Header lines that act as a user. */
export function as(user: string, ...groups: readonly string[]): readonly (readonly [string, string])[] {
  return [["Impersonate-User", user], ...groups.map((group) => ["Impersonate-Group", group] as const)];
}

/** A ConfigMap. */
export function configMap(name: string, data: Readonly<Record<string, string>> = {}): JsonObject {
  return { metadata: { name }, data };
}

/** A pod of one container. */
export function pod(name: string, container: JsonObject, spec: JsonObject = {}): JsonObject {
  return { metadata: { name, labels: { app: name } }, spec: { containers: [{ name: "main", ...container }], ...spec } };
}

/** Waits until a pod's state is as wanted, by watching it. */
export async function podUntil(client: Client, name: string, wanted: (pod: JsonObject) => boolean): Promise<JsonObject> {
  const watch = await client.lines(`/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name=${name}`);
  for (;;) {
    const { object } = await watch.nextJson();
    if (!isObject(object)) throw new Error("the watch ended too early");
    if (!wanted(object)) continue;
    watch.close();
    return object;
  }
}
