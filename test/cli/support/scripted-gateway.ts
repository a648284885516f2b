/** A gateway that plays its HTTP API from a script: what it holds is set by the test, what it was asked is kept. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ErrorCode } from "#core/errors.ts";
import type { ClusterSummary, LoginConfiguration } from "#core/gateway-api.ts";
import { failureStatus } from "#core/kube/status.ts";

export interface ScriptedGateway {
  readonly url: string;
  readonly requests: RecordedRequest[];
  /** The login of each cluster; "" is the gateway's own. */
  readonly logins: Map<string, LoginConfiguration>;
  /** What each bearer token sees. */
  readonly views: Map<string, readonly ClusterSummary[]>;
  /** Answers that replace the script, by `METHOD path`. */
  readonly overrides: Map<string, ScriptedAnswer>;
  /** The status line that answers every request to upgrade; undefined lets it through as a plain request. */
  upgradeStatus: number | undefined;
  readonly close: () => Promise<void>;
}

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

export interface ScriptedAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export async function startGateway(): Promise<ScriptedGateway> {
  const server = createServer({ shouldUpgradeCallback: () => gateway.upgradeStatus !== undefined });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const gateway: ScriptedGateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP listener
    requests: [],
    logins: new Map(),
    views: new Map(),
    overrides: new Map(),
    upgradeStatus: 101,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on("request", (request, response) => void answer(gateway, request, response));
  server.on("upgrade", (request, socket) => {
    gateway.requests.push({ method: "UPGRADE", path: request.url ?? "", authorization: request.headers.authorization, body: "" });
    socket.end(
      `HTTP/1.1 ${gateway.upgradeStatus} Scripted\r\nConnection: ${gateway.upgradeStatus === 101 ? "Upgrade\r\nUpgrade: websocket" : "close"}\r\nContent-Length: 0\r\n\r\n`,
    );
  });
  return gateway;
}

/** An answer that is a failure of the table. */
export function failureAnswer(code: ErrorCode, message: string): ScriptedAnswer {
  const body = failureStatus(code, message);
  return { status: body.code, body, headers: { "audit-id": "8f3c21" } };
}

export function makeCluster(gateway: ScriptedGateway, name: string, changes: Partial<ClusterSummary> = {}): ClusterSummary {
  const agent = {
    replica: "0f8e1c52-aaaa",
    version: "0.4.1",
    connectedAt: "2026-11-22T10:00:00Z",
    lanes: 2,
    node: "node-1",
    roles: { tunnel: { state: "ready" } },
  };
  // The name's brand is given by the parser under test.
  return { name, url: `${gateway.url}/k/${name}`, agents: [agent], createdAt: "2026-11-20T10:00:00Z", ...changes } as ClusterSummary;
}

async function answer(gateway: ScriptedGateway, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk as Uint8Array)); // an IncomingMessage gives buffers
  const { method = "", url: path = "", headers } = request;
  gateway.requests.push({ method, path, authorization: headers.authorization, body: Buffer.concat(chunks).toString() });
  const scripted = gateway.overrides.get(`${method} ${path.split("?")[0] ?? ""}`) ?? play(gateway, method, path, headers.authorization);
  response.writeHead(scripted.status, {
    "content-type": typeof scripted.body === "string" ? "text/html" : "application/json",
    ...scripted.headers,
  });
  response.end(typeof scripted.body === "string" ? scripted.body : JSON.stringify(scripted.body));
}

function play(gateway: ScriptedGateway, method: string, path: string, authorization: string | undefined): ScriptedAnswer {
  const login = /^\/gateway\/v1(?:\/clusters\/([^/]+))?\/login$/.exec(path);
  if (login !== null) return playLogin(gateway, login[1]);
  const view = gateway.views.get((authorization ?? "").replace("Bearer ", ""));
  if (view === undefined) return failureAnswer("NOT_SIGNED_IN", "the request has no token that is trusted here");
  if (method === "GET" && path === "/gateway/v1/clusters") return { status: 200, body: { clusters: view } };
  const name = /^\/gateway\/v1\/clusters\/([^/]+)$/.exec(path)?.[1];
  const cluster = view.find((item) => item.name === name);
  if (cluster === undefined) return failureAnswer("CLUSTER_UNKNOWN", `there is no cluster ${name ?? ""}`);
  return method === "DELETE" ? { status: 204, body: "" } : { status: 200, body: cluster };
}

function playLogin(gateway: ScriptedGateway, cluster: string | undefined): ScriptedAnswer {
  const document = gateway.logins.get(cluster ?? "");
  if (document !== undefined) return { status: 200, body: document };
  return cluster === undefined
    ? failureAnswer("NOT_FOUND", "no login is configured")
    : failureAnswer("CLUSTER_UNKNOWN", `there is no cluster ${cluster}`);
}
