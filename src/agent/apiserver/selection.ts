/**
 * Which apiserver gets a request: the same one for the same user while it lasts (their next list must not be older than their last
 * write, and the servers' caches differ by moments), another one for as few users as possible when one goes, and no server far more than its
 * share. Rendezvous hashing gives the first two: each server draws a number for each user, and the lowest wins.
 */
import { loadFactor, stickyLoad } from "./limits.ts";

/** A server as the choice sees it. */
export interface Candidate {
  /** `hashText` of its address. */
  readonly seed: number;
  readonly available: boolean;
  readonly lastResort: boolean;
  /** 0 to 1: its part of a full share. */
  readonly share: number;
  /** Requests that it is working on. */
  readonly load: number;
}

/**
 * The servers in the order in which to try them: those that are available, by the user's preference; then the last resort; then, because
 * a wrong probe must not make a cluster unreachable, those that are not.
 */
export function orderCandidates<Server extends Candidate>(servers: readonly Server[], affinity: string): Server[] {
  if (servers.length < 2) return [...servers];
  const user = hashText(affinity);
  const drawn = servers.map((server) => ({ server, tier: tier(server), draw: drawOf(server, user) }));
  drawn.sort((a, b) => a.tier - b.tier || a.draw - b.draw);
  const order = drawn.map((entry) => entry.server);
  return preferUnloaded(order);
}

/**
 * The servers in the order in which to try them for a connection that has no user: those that are available, the one with the least
 * load for its share first, and of equals any; then as `orderCandidates` has them.
 */
export function orderByLoad<Server extends Candidate>(servers: readonly Server[], random: () => number): Server[] {
  const drawn = servers.map((server) => ({ server, tier: tier(server), load: (server.load + 1) / server.share, draw: random() }));
  drawn.sort((a, b) => a.tier - b.tier || a.load - b.load || a.draw - b.draw);
  return drawn.map((entry) => entry.server);
}

/** A 32-bit hash of a text (FNV-1a). */
export function hashText(text: string): number {
  let hash = 0x81_1c_9d_c5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01_00_01_93);
  return hash >>> 0;
}

function tier(server: Candidate): number {
  if (!server.available) return 2;
  return server.lastResort ? 1 : 0;
}

/** The weighted draw: an exponential variate with the share as its rate, so that each server wins in proportion to its share. */
function drawOf(server: Candidate, user: number): number {
  const uniform = (mix(user ^ server.seed) + 1) / 0x1_00_00_00_01;
  return -Math.log(uniform) / server.share;
}

/** Spreads close inputs over all 32 bits (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85_eb_ca_6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2_b2_ae_35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Puts the first server that has room in front (consistent hashing with bounded loads). */
function preferUnloaded<Server extends Candidate>(order: Server[]): Server[] {
  const first = order[0];
  if (first === undefined || first.load < stickyLoad) return order;
  const peers = order.filter((server) => tier(server) === tier(first));
  const load = peers.reduce((sum, server) => sum + server.load, 1);
  const shares = peers.reduce((sum, server) => sum + server.share, 0);
  const roomy = peers.find((server) => server.load < stickyLoad || server.load < (loadFactor * load * server.share) / shares);
  if (roomy === undefined || roomy === first) return order;
  return [roomy, ...order.filter((server) => server !== roomy)];
}
