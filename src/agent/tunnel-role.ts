/** The role `tunnel`: takes users' requests from the gateway, verifies them, and carries them to the apiservers. */
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { createTokenDoor } from "#identity/token-door.ts";
import { systemClock } from "./clock.ts";
import type { ClusterAccess } from "./cluster-access.ts";
import { createAddressProblem } from "./dial/allowed-address.ts";
import { Dialer } from "./dial/dialer.ts";
import { ObjectReader } from "./dial/reader.ts";
import type { TargetSockets } from "./dial/sockets.ts";
import { NodeStates } from "./cluster/node-states.ts";
import { AccessReviews } from "./cluster/reviews.ts";
import type { TunnelConfig } from "./config/tunnel-config.ts";
import { IssuerKeys } from "./issuers/issuer-keys.ts";
import type { HandlerOptions } from "./requests/admitted.ts";
import { handleStream } from "./requests/handler.ts";
import { RequestRecorder } from "./requests/record.ts";
import { Sessions } from "./requests/sessions.ts";
import { agentAllowance, UserLimits } from "#core/access/user-limits.ts";
import { serviceProxyRole } from "#core/node-states.ts";
import { Tunnel } from "./tunnel/tunnel.ts";
import type { TunnelState } from "./tunnel/tunnel.ts";
import { createWebSocketPeer } from "./websocket/peer.ts";

/** This build, as the gateway shows it. */
const build = "0.1.0";

/** How often the agent looks whether there is something new to tell the gateway. */
const reportMs = 30_000;

/** How long a stopping agent lets streams run: shorter than the Deployment's grace period. */
const drainMs = 50_000;

export class TunnelRole {
  readonly #config: TunnelConfig;
  readonly #access: ClusterAccess;
  readonly #sockets: TargetSockets;
  readonly #issuers: IssuerKeys;
  readonly #recorder = new RequestRecorder({ write: (text, done) => void process.stdout.write(text, () => done()) }, systemClock);
  readonly #sessions = new Sessions(Date.now);
  readonly #tunnel: Tunnel;
  /** Of the nodes' service proxies; an agent outside of the cluster has no ServiceAccount that may read them. */
  readonly #nodes: NodeStates | undefined;
  #droppedGroups = 0;
  #told = "";
  #wasReady = false;
  #reporting: NodeJS.Timeout | undefined;

  /** @param sockets the way to what forwards reach */
  constructor(config: TunnelConfig, access: ClusterAccess, sockets: TargetSockets) {
    this.#config = config;
    this.#sockets = sockets;
    this.#access = access;
    this.#issuers = new IssuerKeys({ configuration: config.authentication, files: config.issuerKeys, clock: Date.now });
    this.#nodes = access.isInCluster ? createNodeStates(access) : undefined;
    const handler = this.#handlerOptions();
    this.#tunnel = new Tunnel({
      target: {
        url: `wss://${config.gateway.host}/tunnel/${config.cluster}`,
        certificateAuthority: config.gatewayCa,
        joinToken: async () => (await readFile(config.joinTokenFile, "utf8")).trim(),
      },
      identity: {
        cluster: config.cluster,
        replica: config.replica,
        node: config.node,
        build,
        publicKey: access.key.publicJwk.x,
        sign: (statement) => access.key.sign(statement),
      },
      onStream: (open, stream) => void handleStream(handler, open, stream),
      onChange: (state) => this.#changed(state),
      random: Math.random,
    });
  }

  start(): void {
    this.#tunnel.start();
    void this.#nodes?.start();
    this.#reporting = setInterval(() => void this.#tell(), reportMs);
  }

  /** Takes no new streams and resolves when the running ones are over, or have had their time. */
  async stop(): Promise<void> {
    clearInterval(this.#reporting);
    this.#nodes?.stop();
    setTimeout(() => this.#tunnel.stop(), drainMs).unref();
    await this.#tunnel.drain();
    this.#recorder.flush();
  }

  #handlerOptions(): HandlerOptions {
    const { authentication, cluster, allowedGroups, allowedKubeletPaths } = this.#config;
    const { credentials, pool, api } = this.#access;
    const reviews = new AccessReviews(api, systemClock);
    return {
      cluster,
      allowedGroups,
      allowedKubeletPaths,
      door: createTokenDoor({ configuration: authentication, keysFor: this.#issuers.keysFor, clock: Date.now }),
      apiservers: pool,
      reviews,
      dialer: new Dialer({
        reader: new ObjectReader(api),
        reviews,
        sockets: this.#sockets,
        addressProblem: createAddressProblem({ ownAddresses, apiservers: () => pool.state().servers.map(({ url }) => url) }),
        random: Math.random,
      }),
      clock: systemClock,
      authorization: () => credentials.authorization(),
      sessions: this.#sessions,
      limits: new UserLimits(agentAllowance(this.#config.streamsPerUser), Date.now),
      recorder: this.#recorder,
      createWebSocket: (socket, head, protocol) => createWebSocketPeer({ socket, head, protocol, clock: systemClock, mask: "random" }),
      onDroppedGroups: (count) => {
        this.#droppedGroups += count;
      },
    };
  }

  #changed(state: TunnelState): void {
    const isReady = state.lanes.interactive === "joined" && state.lanes.bulk === "joined";
    if (isReady !== this.#wasReady || !isReady)
      process.stderr.write(`${JSON.stringify({ event: isReady ? "ready" : "connecting", ...state })}\n`);
    this.#wasReady = isReady;
    this.#told = "";
    if (isReady) void this.#tell();
  }

  /** Tells the gateway what has changed; what has not would wake a sleeping hub for nothing. */
  async #tell(): Promise<void> {
    const nodes = this.#nodes?.report();
    const roles = { tunnel: this.#describe(), ...(nodes !== undefined && { [serviceProxyRole]: nodes }) };
    const report = { roles, issuerKeys: await this.#issuers.report() };
    const text = JSON.stringify(report);
    if (text === this.#told) return;
    this.#told = text;
    this.#tunnel.report(report);
  }

  #describe(): object {
    const { pool, key } = this.#access;
    const apiservers = pool
      .state()
      .servers.map(({ url, health, lastFailure }) => ({ url, health, ...(lastFailure !== undefined && { lastFailure }) }));
    return {
      apiservers,
      streams: this.#sessions.streamCount,
      droppedGroups: this.#droppedGroups,
      droppedAuditEvents: this.#recorder.dropped,
      key: key.thumbprint,
    };
  }
}

/** Of every interface as it is now: a pod's own, or its node's when the agent shares its network. */
function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}

function createNodeStates({ api }: ClusterAccess): NodeStates {
  return new NodeStates({
    api,
    clock: systemClock,
    random: Math.random,
    onRefused: (what) => process.stderr.write(`${JSON.stringify({ event: "nodes-unknown", what })}\n`),
  });
}
