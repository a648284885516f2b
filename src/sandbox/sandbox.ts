/**
 * The sandbox: a Kubernetes cluster small enough to read, for `npm run demo` on a machine that has none. Stock kubectl works against
 * it, because it follows the Kubernetes API for the kinds it serves: RBAC, impersonation, watches, tables, patches, logs, exec and
 * port-forward. What must stay true: it is honest about being a sandbox wherever it shows itself; it runs only programs of ours, never
 * one of the user's choosing nor a shell of the user's machine; everything is in memory; and when it stops, nothing is left behind.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createAgent, defaultAgent, issueAgentToken } from "./agent-account.ts";
import type { AgentAccount } from "./agent-account.ts";
import { systemClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import type { Cluster } from "./cluster.ts";
import { startControllers } from "./controllers/controllers.ts";
import { Authenticator } from "./identity/authenticator.ts";
import { Authorizer } from "./identity/authorizer.ts";
import { createServerCertificate } from "./identity/certificate.ts";
import type { ServerCertificate } from "./identity/certificate.ts";
import { defaultRoles } from "./identity/default-roles.ts";
import { clusterIssuer, ServiceAccountIssuer } from "./identity/service-account-issuer.ts";
import { EventRecorder } from "./node/events.ts";
import { Kubelet } from "./node/kubelet.ts";
import { textAt } from "./objects/json.ts";
import type { JsonObject } from "./objects/json.ts";
import { resourceOf } from "./objects/resources.ts";
import { Registry } from "./registry/registry.ts";
import { ServiceAddresses } from "./registry/service-addresses.ts";
import { createBasics, createWorkloads } from "./sample-data.ts";
import type { SampleData } from "./sample-data.ts";
import { createApiServer } from "./server/server.ts";
import type { RequestRecord } from "./server/server.ts";
import { Snapshots } from "./server/snapshots.ts";
import { Store } from "./store/store.ts";

/** How to start a sandbox. */
export interface SandboxOptions {
  /** Address to listen on; 127.0.0.1 without. */
  readonly host?: string;
  /** Port; 0 or none lets the system choose. */
  readonly port?: number;
  readonly clock?: Clock;
  /** Called for each request. */
  readonly log?: (record: RequestRecord) => void;
  readonly sampleData?: SampleData;
  /** The agent's names; the shipped ones without. */
  readonly agent?: AgentAccount;
  /** The server's certificate and its CA; made at start without. */
  readonly certificate?: ServerCertificate;
  /** The admin's bearer token; random without. */
  readonly adminToken?: string;
}

/** A running sandbox. */
export interface Sandbox {
  /** https://host:port */
  readonly url: string;
  /** The CA that clients must trust. */
  readonly caPem: string;
  /** Bearer token of a user who may do everything. */
  readonly adminToken: string;
  /** The `iss` of its ServiceAccount tokens. */
  readonly joinIssuer: string;
  /** The public keys of those tokens (RFC 7517). */
  readonly jwks: { readonly keys: readonly JsonObject[] };
  /** A token of the agent's ServiceAccount for an audience, bound to the agent's pod, good for an hour. */
  agentToken(audience: string): string;
  /** Ends every connection and every container; nothing is left behind. */
  stop(): Promise<void>;
}

/** Starts a sandbox; resolves when it answers requests. Pods start in the background. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const { host = "127.0.0.1", port = 0, clock = systemClock, log = () => undefined, agent = defaultAgent } = options;
  const { adminToken = randomBytes(32).toString("base64url") } = options;
  const certificate = options.certificate ?? (await createServerCertificate([...new Set(["localhost", "127.0.0.1", host])], clock.now()));
  const issuer = await ServiceAccountIssuer.create(clock);
  const store = new Store();
  const registry = new Registry({ store, clock, addresses: new ServiceAddresses(store) });
  const events = new EventRecorder(registry, clock);
  const kubelet = new Kubelet({ registry, events, clock });
  const stopControllers = startControllers({ registry, events, clock, caPem: certificate.caPem });
  kubelet.start();
  fill(registry, { clock, agent, sampleData: options.sampleData ?? "workloads" });

  const stopping = new AbortController();
  const parts = {
    authenticator: new Authenticator({ adminToken, issuer, store }),
    authorizer: new Authorizer(store),
    snapshots: new Snapshots(),
  };
  let cluster: Cluster = { registry, issuer, kubelet, clock, address: "", ...parts };
  const server = createApiServer({ certificate, log, stopping: stopping.signal }, () => cluster);
  server.listen(port, host);
  await once(server, "listening");
  const bound = server.address() as AddressInfo; // a listening TCP server has one
  const address = `${host.includes(":") ? `[${host}]` : host}:${bound.port}`;
  cluster = { ...cluster, address };
  return {
    url: `https://${address}`,
    caPem: certificate.caPem,
    adminToken,
    joinIssuer: clusterIssuer,
    jwks: issuer.jwks,
    agentToken: (audience) => {
      const issued = issueAgentToken(registry, issuer, { account: agent, audience });
      if (issued === undefined) throw new Error("the agent's ServiceAccount or pod was deleted");
      return issued.token;
    },
    stop: async () => {
      stopControllers();
      stopping.abort();
      server.close();
      await kubelet.stop();
      server.closeAllConnections();
    },
  };
}

function fill(
  registry: Registry,
  { clock, agent, sampleData }: { readonly clock: Clock; readonly agent: AgentAccount; readonly sampleData: SampleData },
): void {
  for (const role of defaultRoles()) registry.create(resourceOf(textAt(role, "kind")), "", role);
  createBasics(registry, clock.now());
  createAgent(registry, agent);
  if (sampleData === "workloads") createWorkloads(registry);
}
