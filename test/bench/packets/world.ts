/** A client, a node and pods in a network of their own each, and on the node whatever proxies Services there. */
import { writeFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { clusterFiles } from "#test/cluster/harness/cache.ts";
import { mustRun, runCommand, startCommand } from "#test/cluster/harness/command.ts";
import { benchNode, loadPorts } from "../service-proxy/objects.ts";
import type { Question } from "./client/main.ts";

export const proxyKinds = ["sallyport", "kube-proxy nftables", "kube-proxy iptables"] as const;
/** The world without a proxy, whose endpoints are reached directly. */
export const noProxy = "no proxy";
export type ProxyKind = (typeof proxyKinds)[number];

export type Figures = Readonly<Record<string, number>>;

const apiPort = 8001;
const repository = path.resolve(import.meta.dirname, "../../..");
const ticksASecond = 100;
const places = ["client", "node", "pods"] as const;
type Place = (typeof places)[number];

export class PacketWorld {
  readonly kind: ProxyKind | typeof noProxy;
  readonly #name: string;
  readonly #folder: string;
  readonly #children: ChildProcess[] = [];
  #proxy: ChildProcess | undefined;
  #client: Conversation | undefined;
  #api: Conversation | undefined;

  private constructor(kind: ProxyKind | typeof noProxy, folder: string) {
    this.kind = kind;
    this.#folder = folder;
    this.#name = `sdp-${process.pid}-${kind.replaceAll(" ", "-")}`;
  }

  /** Starts everything but the proxy. Needs root, nginx and iperf3. */
  static async start(kind: ProxyKind | typeof noProxy, services: number, endpoints = 2): Promise<PacketWorld> {
    const world = new PacketWorld(kind, await mkdtemp(path.join(tmpdir(), "sallyport-bench-")));
    try {
      await world.#connect();
      world.#api = await world.#converse("node", ownProgram("../service-proxy/api"), [`${services}`, `${apiPort}`, `${endpoints}`]);
      world.#client = await world.#converse("client", ownProgram("client"), []);
      await world.#converse("pods", ownProgram("endpoint"), []);
      await world.#startLoadServers();
      return world;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  startProxy(): void {
    const [program, ...args] = this.in("node", this.#proxyCommand());
    this.#proxy = this.#keep(startCommand(program, args));
  }

  /** Asks the client for a measure. */
  async ask(question: Question): Promise<Figures> {
    return required(this.#client).ask(JSON.stringify(question));
  }

  /** Says a line to the API: a Service whose slice it changes, or how many it changes a second from now on. */
  async tellApi(line: string): Promise<Figures> {
    return required(this.#api).ask(line);
  }

  /** The command, to be run at that place. */
  in(place: Place, command: readonly string[]): readonly [string, ...string[]] {
    return ["ip", "netns", "exec", this.#namespace(place), ...command];
  }

  /** Of the proxy so far: CPU seconds, those of its ended children included, and memory now and at most. */
  async usage(): Promise<Figures> {
    const folder = `/proc/${this.#proxy?.pid}`;
    const fields = (await readFile(`${folder}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    const status = await readFile(`${folder}/status`, "utf8");
    const megabytes = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1_024;
    return { "CPU s": ticks / ticksASecond, "RSS MB": megabytes("VmRSS"), "peak RSS MB": megabytes("VmHWM") };
  }

  async stop(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
    for (const place of places) await runCommand("ip", ["netns", "del", this.#namespace(place)]);
    await rm(this.#folder, { recursive: true });
  }

  #namespace(place: Place): string {
    return `${this.#name}-${place}`;
  }

  async #connect(): Promise<void> {
    for (const place of places) {
      await mustRun("ip", ["netns", "add", this.#namespace(place)]);
      await this.#ip(place, "link set lo up");
    }
    const links = [
      ["client", "192.168.1"],
      ["pods", "192.168.2"],
    ] as const;
    for (const [place, prefix] of links) {
      await this.#ip("node", `link add ${place} type veth peer name node netns ${this.#namespace(place)}`);
      await this.#ip("node", `addr add ${prefix}.1/24 dev ${place}`);
      await this.#ip("node", `link set ${place} up`);
      await this.#ip(place, `addr add ${prefix}.2/24 dev node`);
      await this.#ip(place, "link set node up");
      await this.#ip(place, `route add default via ${prefix}.1`);
    }
    await this.#ip("node", "addr add 192.168.0.1/32 dev lo");
    await this.#ip("node", "route add 10.128.0.0/9 via 192.168.2.2");
    // Every pod address is this machine's.
    await this.#ip("pods", "route add local 10.128.0.0/9 dev lo");
    await this.#set("node", "net.ipv4.ip_forward=1");
    // Ports for as many connections as a load makes, none of which is kept after its end.
    for (const place of ["client", "pods"] as const) {
      await this.#set(place, "net.ipv4.ip_local_port_range=1024 65535");
      await this.#set(place, "net.ipv4.tcp_max_tw_buckets=0");
    }
  }

  async #set(place: Place, setting: string): Promise<void> {
    const [program, ...args] = this.in(place, ["sysctl", "-q", "-w", setting]);
    await mustRun(program, args);
  }

  async #ip(place: Place, words: string): Promise<void> {
    await mustRun("ip", ["-n", this.#namespace(place), ...words.split(" ")]);
  }

  async #startLoadServers(): Promise<void> {
    const configuration = path.join(this.#folder, "nginx.conf");
    writeFileSync(configuration, nginxConfiguration(this.#folder));
    const servers = [
      ["nginx", "-c", configuration],
      ["iperf3", "--server", "--port", `${loadPorts.iperf}`],
    ];
    for (const command of servers) {
      const [program, ...args] = this.in("pods", command);
      const child = this.#keep(startCommand(program, args));
      await once(child, "spawn");
      child.stdout?.resume();
      child.stderr?.resume();
    }
  }

  async #converse(place: Place, file: string, args: readonly string[]): Promise<Conversation> {
    const [program, ...all] = this.in(place, [process.execPath, file, ...args]);
    const conversation = new Conversation(this.#keep(startCommand(program, all)));
    await conversation.next();
    return conversation;
  }

  #keep(child: ChildProcess): ChildProcess {
    this.#children.push(child);
    return child;
  }

  #proxyCommand(): readonly string[] {
    const file = path.join(this.#folder, "configuration.json");
    writeFileSync(file, JSON.stringify(this.#proxyConfiguration()));
    if (this.kind !== "sallyport") return [clusterFiles.kube, "kube-proxy", `--config=${file}`];
    const agent = [path.join(repository, "src/cli/main.ts"), "agent", "--roles=service-proxy", `--config=${file}`, `--node=${benchNode}`];
    return [process.execPath, ...agent];
  }

  /** One file for both, with each proxy's own default for how often it writes. */
  #proxyConfiguration(): unknown {
    const kubeconfig = path.join(this.#folder, "kubeconfig");
    const document = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "api", cluster: { server: `http://127.0.0.1:${apiPort}` } }],
      users: [{ name: "nobody", user: { token: "none" } }],
      contexts: [{ name: "api", context: { cluster: "api", user: "nobody" } }],
      "current-context": "api",
    };
    writeFileSync(kubeconfig, JSON.stringify(document));
    return {
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode: this.kind === "kube-proxy iptables" ? "iptables" : "nftables",
      hostnameOverride: benchNode,
      clientConnection: { kubeconfig, acceptContentTypes: "application/json", contentType: "application/json" },
      // The connection table's size belongs to the host.
      conntrack: { maxPerCore: 0 },
    };
  }
}

/** A program that answers each line with a line. */
class Conversation {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = "";

  constructor(child: ChildProcess) {
    if (child.stdout === null) throw new Error("a child with a pipe has an output");
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr?.on("data", (chunk: Buffer) => (this.#errors += chunk.toString("utf8")));
  }

  async ask(line: string): Promise<Figures> {
    this.#child.stdin?.write(`${line}\n`);
    return this.next();
  }

  async next(): Promise<Figures> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`a program of the bench ended: ${this.#errors}`);
    return JSON.parse(line.value) as Figures;
  }
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("the world has not been started");
  return value;
}

function ownProgram(folder: string): string {
  return path.join(import.meta.dirname, folder, "main.ts");
}

function nginxConfiguration(folder: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/nginx;`);
  const server = `server { listen ${loadPorts.http} backlog=4096; location / { return 200 "ok"; } }`;
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; ${temporary.join(" ")} ${server} }
`;
}
