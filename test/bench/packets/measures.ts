/** What is measured of a proxy by its packets: programming from nothing, one changed endpoint, and the way of packets once it is there. */
import { setTimeout as delay } from "node:timers/promises";

import { mustRun } from "#test/cluster/harness/command.ts";
import { benchPort, changingEndpoint, clusterIpOf, endpointPort, endpointsOf, loadPorts } from "../service-proxy/objects.ts";
import { type Figures, noProxy, type PacketWorld } from "./world.ts";

/** Services that are probed to know that all are programmed. */
const probedServices = 64;
const connects = 2_000;
const loadSeconds = 3;
const loadConnections = 32;

/** From the start of the proxy's process until Services from the first to the last answer. */
export async function measureProgramming(world: PacketWorld, services: number): Promise<Figures> {
  const indexes = Array.from({ length: probedServices }, (_, place) => Math.floor((place * (services - 1)) / (probedServices - 1)));
  const startUs = Number(process.hrtime.bigint() / 1_000n);
  world.startProxy();
  const { atUs = Number.NaN } = await world.ask({ type: "all", addresses: indexes.map(clusterIpOf), port: benchPort });
  return { s: (atUs - startUs) / 1e6, ...(await world.usage()) };
}

/** Proxies rest after a write; alone, a change comes after that. */
const restMs = 1_500;

/** From the write of an EndpointSlice to the first new connection that reaches the endpoint that it brings. */
export class ChangeMeter {
  readonly #world: PacketWorld;
  readonly #versions = new Map<number, number>();

  constructor(world: PacketWorld) {
    this.#world = world;
  }

  /** Changes that many Services of the lower half, one after the other, each after a rest where nothing else changes; milliseconds. */
  async measure(services: number, changes: number, rest: "rest" | "go on"): Promise<readonly number[]> {
    const times: number[] = [];
    for (let number = 0; number < changes; number++) {
      const index = (number * 37) % Math.floor(services / 2);
      if (rest === "rest") await delay(restMs);
      const version = (this.#versions.get(index) ?? 0) + 1;
      this.#versions.set(index, version);
      const endpoint = changingEndpoint(index, version);
      const reached = this.#world.ask({ type: "until", address: clusterIpOf(index), port: benchPort, endpoint });
      const written = await this.#world.tellApi(`${index}`);
      times.push((((await reached)["atUs"] ?? Number.NaN) - (written["atUs"] ?? Number.NaN)) / 1e3);
    }
    return times;
  }
}

/** What a client has of the first Service, or of its endpoint directly where there is no proxy. */
export async function measureDataplane(world: PacketWorld): Promise<Figures> {
  const [endpoint = ""] = endpointsOf(0, 0);
  const [address, port] = world.kind === noProxy ? [endpoint, endpointPort] : [clusterIpOf(0), benchPort];
  const first = await world.ask({ type: "connects", address, port, count: connects });
  const url = `http://${address}:${loadPorts.http}/`;
  return {
    "first packet to answer, p50 µs": first["p50Us"] ?? Number.NaN,
    "first packet to answer, p99 µs": first["p99Us"] ?? Number.NaN,
    "requests/s, kept connections": await wrk(world, url, []),
    "requests/s, new connections": await wrk(world, url, ["--header", "Connection: close"]),
    "TCP Gbit/s": await iperf(world, address),
  };
}

async function wrk(world: PacketWorld, url: string, more: readonly string[]): Promise<number> {
  const load = ["wrk", "--threads", "1", "--connections", `${loadConnections}`, "--duration", `${loadSeconds}s`];
  const [program, ...args] = world.in("client", [...load, ...more, url]);
  const output = await mustRun(program, args);
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(output)?.[1];
  if (rate === undefined) throw new Error(`wrk said no rate: ${output}`);
  return Number(rate);
}

async function iperf(world: PacketWorld, address: string): Promise<number> {
  const flags = ["--client", address, "--port", `${loadPorts.iperf}`, "--time", `${loadSeconds}`, "--json"];
  const [program, ...args] = world.in("client", ["iperf3", ...flags]);
  const report = JSON.parse(await mustRun(program, args)) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second / 1e9;
}
