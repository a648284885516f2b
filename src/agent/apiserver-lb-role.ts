/** The role `apiserver-lb`: listens for clients inside the cluster, follows which apiservers there are, and tells how they are. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { GatewayError } from "#core/errors.ts";
import { Balancer } from "./apiserver/balancer.ts";
import { dialTcp } from "./apiserver/tcp-dial.ts";
import type { ApiserverAddress } from "./apiserver/upstream.ts";
import { systemClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { openApiservers, startDiscovery } from "./cluster-access.ts";
import type { ApiserverAccess } from "./cluster-access.ts";
import { explicitAddresses, inClusterServerName } from "./cluster/endpoints.ts";
import type { ApiserverLbConfig, ListenPlace } from "./config/apiserver-lb-config.ts";
import { isApiserverUrl } from "./config/cluster-connection.ts";
import type { RoleHost, RunningRole } from "./service-proxy-run.ts";
import { KeptListener, listenHttp } from "./service-proxy/http-listener.ts";
import type { HttpAnswer } from "./service-proxy/http-listener.ts";

/** Time between looks at the file, and at what has changed for the log. */
const lookMs = 1_000;

/** Starts; rejects with a GatewayError when it cannot listen, or has no credential. */
export async function runApiserverLb(config: ApiserverLbConfig, host: RoleHost): Promise<RunningRole> {
  const access = await openApiservers(config.connection);
  const { credentials } = access;
  const own = new Set(
    config.listen.map(({ host: address, port }) => `https://${address.includes(":") ? `[${address}]` : address}:${port}`),
  );
  // A balancer that found itself behind itself would pass a connection round for ever.
  const others = (servers: readonly ApiserverAddress[]) => servers.filter(({ url }) => !own.has(url));
  const balancer = new Balancer({
    servers: others(access.servers),
    tls: () => credentials.tls(),
    authorization: () => credentials.authorization(),
    clock: systemClock,
    random: Math.random,
    dial: dialTcp,
  });
  const use = (servers: readonly ApiserverAddress[]): void => {
    balancer.setServers(others(servers));
    access.pool.setServers(others(servers));
  };
  const stopFollowing = await follow(config, access, { use, log: host.log });
  balancer.start();
  const listeners = await listenAll(config.listen, balancer);
  const status = config.status === undefined ? undefined : await startStatus(config.status, balancer, host);
  const stopTelling = tell(balancer, host, systemClock);
  host.log({ event: "ready", listen: config.listen });
  return {
    stop: async () => {
      for (const listener of listeners) listener.close();
      stopFollowing();
      await Promise.race([balancer.drained(), wait(config.drainMs)]);
      stopTelling();
      await status?.close();
      await balancer.close();
      await access.close();
    },
  };
}

interface Following {
  readonly use: (servers: readonly ApiserverAddress[]) => void;
  readonly log: RoleHost["log"];
}

/** Keeps the list of apiservers up to date, where it may change; what is returned ends that. */
async function follow(config: ApiserverLbConfig, access: ApiserverAccess, { use, log }: Following): Promise<() => void> {
  const { serversFile, connection } = config;
  if (serversFile !== undefined) {
    const file = new ServersFile(serversFile, access.isInCluster ? inClusterServerName : undefined, { use, log });
    await file.start();
    return () => file.stop();
  }
  if (connection.apiservers.length > 0) return () => undefined;
  const discovery = startDiscovery(access.api, use, access.servers[0]);
  return () => discovery.stop();
}

/** Apiservers' addresses in a file, one on a line; what it says wrong changes nothing. */
class ServersFile {
  readonly #path: string;
  readonly #serverName: string | undefined;
  readonly #following: Following;
  #known: string | undefined;
  #cancel: () => void = () => undefined;
  #isStopped = false;

  constructor(path: string, serverName: string | undefined, following: Following) {
    this.#path = path;
    this.#serverName = serverName;
    this.#following = following;
  }

  /** Reads it, and then again and again. @throws GatewayError when it cannot be read at first */
  async start(): Promise<void> {
    const problem = await this.#read();
    if (problem !== undefined) throw new GatewayError("CONFIGURATION_INVALID", `--servers-file ${this.#path}: ${problem}`);
    this.#again();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #again(): void {
    if (this.#isStopped) return;
    this.#cancel = systemClock.after(lookMs, () => {
      void this.#read().then((problem) => {
        if (problem !== undefined) this.#following.log({ event: "servers-file", problem });
        this.#again();
      });
    });
  }

  /** Why what it says now is not used; undefined when it is, or is what it said before. */
  async #read(): Promise<string | undefined> {
    const text = await readFile(this.#path, "utf8").catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
    const said = typeof text === "string" ? text : text.message;
    if (said === this.#known) return undefined;
    this.#known = said;
    if (typeof text !== "string") return text.message;
    const urls = text
      .split("\n")
      .map((line) => line.replace(/#.*/, "").trim())
      .filter((line) => line !== "");
    const wrong = urls.find((url) => !isApiserverUrl(url));
    if (wrong !== undefined) return `${wrong} is no address such as https://10.0.0.1:6443`;
    if (urls.length === 0) return "it names no apiserver";
    this.#following.use(explicitAddresses(urls, this.#serverName));
    return undefined;
  }
}

/** Listens everywhere or nowhere. */
async function listenAll(places: readonly ListenPlace[], balancer: Balancer): Promise<readonly Server[]> {
  const servers: Server[] = [];
  try {
    for (const place of places) servers.push(await listenAt(place, balancer));
    return servers;
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
}

async function listenAt({ host, port }: ListenPlace, balancer: Balancer): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => balancer.accept(socket));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(new GatewayError("CONFIGURATION_INVALID", `cannot listen at ${host}:${port}: ${error.message}`)),
    );
    server.listen({ host, port, exclusive: true }, resolve);
  });
  // Accepting may fail for a moment when file descriptors run out: the next connection may not.
  server.removeAllListeners("error").on("error", () => undefined);
  return server;
}

async function startStatus(target: ListenPlace, balancer: Balancer, host: RoleHost): Promise<KeptListener> {
  const listener = new KeptListener({
    listen: listenHttp,
    target,
    answer: (path) => answerStatus(path, balancer),
    clock: systemClock,
    onFailure: (message) => host.log({ event: "status", problem: message }),
  });
  await listener.start();
  return listener;
}

const plainText = "text/plain; charset=utf-8";

function answerStatus(path: string, balancer: Balancer): HttpAnswer {
  const { servers, ready } = balancer.state();
  if (path === "/healthz") return { status: ready ? 200 : 503, contentType: plainText, body: ready ? "ok\n" : "no apiserver is ready\n" };
  if (path === "/livez") return { status: 200, contentType: plainText, body: "ok\n" };
  if (path !== "/metrics") return { status: 404, contentType: plainText, body: "404 page not found\n" };
  const lines = servers.flatMap(({ url, health, connections }) => [
    `sallyport_apiserver_lb_ready{server="${url}"} ${health === "ready" ? 1 : 0}`,
    `sallyport_apiserver_lb_connections{server="${url}"} ${connections}`,
  ]);
  return { status: 200, contentType: "text/plain; version=0.0.4", body: `${lines.join("\n")}\n` };
}

/** Writes a line whenever a server came, went or changed its health. */
function tell(balancer: Balancer, { log }: RoleHost, clock: Clock): () => void {
  let known = "";
  let cancel: () => void = () => undefined;
  const look = (): void => {
    const servers = balancer.state().servers.map(({ url, health, lastFailure }) => ({ url, health, lastFailure }));
    const text = JSON.stringify(servers.map(({ url, health }) => [url, health]));
    if (text !== known) log({ event: "apiservers", servers });
    known = text;
    cancel = clock.after(lookMs, look);
  };
  look();
  return () => cancel();
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => void systemClock.after(ms, resolve));
}
