/** The Durable Objects as the Worker calls them: each method of the class, answered later. */
import type { AgentState, PublicKeySet } from "#core/gateway-api.ts";
import type { HubInstance } from "./hub.ts";
import type { DiscoveryAnswer } from "./discovery-store.ts";
import type { Addition, ClusterRecord } from "./registry.ts";
import type { ExchangeAnswer } from "./sockets.ts";
import type { StreamClass } from "#core/tunnel/payload.ts";

/** The gateway's one Registry. */
export interface RegistryStub {
  get(name: string): Promise<ClusterRecord | undefined>;
  list(): Promise<readonly ClusterRecord[]>;
  add(record: ClusterRecord): Promise<Addition>;
  remove(name: string): Promise<boolean>;
  reportKeys(name: string, keys: Readonly<Record<string, PublicKeySet>>): Promise<void>;
}

/** The hub of one cluster. */
export interface HubStub {
  fetch(url: string, init?: RequestInit): Promise<Response>;
  exchange(exchange: string, wanted: StreamClass, bytes: Uint8Array): Promise<ExchangeAnswer>;
  push(exchange: string, bytes: Uint8Array): Promise<void>;
  agents(): Promise<readonly AgentState[]>;
  describeInstance(): Promise<HubInstance>;
  rememberDiscovery(key: string, answer: DiscoveryAnswer): Promise<void>;
  discovery(key: string): Promise<DiscoveryAnswer | undefined>;
  forget(): Promise<void>;
}

export function registryOf(env: Env): RegistryStub {
  return env.REGISTRY.getByName("registry");
}

export function hubOf(env: Env, cluster: string): HubStub {
  return env.HUB.getByName(cluster);
}
