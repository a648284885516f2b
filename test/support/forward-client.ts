/** `sallyport forward`'s own client for tests: its way to a gateway, with a token. */
import { ForwardGateway } from "#cli/forward/gateway.ts";
import type { ForwardConnection } from "#cli/forward/connection.ts";
import { CredentialSource } from "#cli/proxy/credentials.ts";
import { Upstream } from "#cli/proxy/upstream.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import type { GatewayFixture } from "./system.ts";

export function forwardGateway(gateway: GatewayFixture, token: string): ForwardGateway {
  const server = new URL(`${gateway.url}/k/one`);
  const tls = { ca: gateway.authority.certificate, serverName: undefined, insecure: false, certificate: undefined, key: undefined };
  return new ForwardGateway({
    server,
    upstream: new Upstream({ server, proxy: undefined, environment: {} }),
    credentials: new CredentialSource({
      config: {
        server,
        proxy: undefined,
        bearer: { type: "token", token },
        namespace: "",
        impersonation: undefined,
        behindGateway: true,
        readTls: () => tls,
      },
      environment: {},
      clock: { now: Date.now },
      interactive: false,
    }),
    impersonation: [],
    now: Date.now,
    wait: async () => undefined,
  });
}

/** What came on a connection. */
export interface Heard {
  readonly data: () => Buffer;
  readonly datagrams: readonly Buffer[];
  /** Resolves when the data fits. */
  whenData(fits: (data: Buffer) => boolean): Promise<Buffer>;
  whenDatagrams(count: number): Promise<readonly Buffer[]>;
  /** Resolves with the reason. */
  readonly ended: Promise<string>;
  readonly reset: Promise<{ readonly code: ResetCode; readonly reason: string }>;
}

export function hear(connection: ForwardConnection): Heard {
  const parts: Buffer[] = [];
  const datagrams: Buffer[] = [];
  const watchers = new Set<() => void>();
  const changed = () => {
    for (const watcher of watchers) watcher();
  };
  const when = (fits: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = () => {
        if (!fits()) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      look();
    });
  const ended = Promise.withResolvers<string>();
  const reset = Promise.withResolvers<{ code: ResetCode; reason: string }>();
  connection.listen({
    onData: (payload, consumed) => {
      parts.push(Buffer.from(payload));
      consumed();
      changed();
    },
    onDatagram: (payload) => {
      datagrams.push(Buffer.from(payload));
      changed();
    },
    onEnd: (reason) => ended.resolve(reason),
    onReset: (code, reason) => reset.resolve({ code, reason }),
    onDrain: () => undefined,
  });
  const data = (): Buffer => Buffer.concat(parts);
  return {
    data,
    datagrams,
    whenData: async (fits) => {
      await when(() => fits(data()));
      return data();
    },
    whenDatagrams: async (count) => {
      await when(() => datagrams.length >= count);
      return datagrams;
    },
    ended: ended.promise,
    reset: reset.promise,
  };
}
