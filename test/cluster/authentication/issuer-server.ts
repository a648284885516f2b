import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import type { FetchKeys } from "#identity/keys.ts";

/** An HTTPS server that is many OpenID issuers: each path `/i/<name>` is one, and all publish the same keys. */
export interface IssuerServer {
  readonly origin: string;
  readonly close: () => Promise<void>;
}

/** What the issuers publish. */
export interface Published {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  /** The token at `/claims`, with claims that other tokens only point to (OpenID Connect Core section 5.6.2). */
  readonly signClaims: (origin: string) => Promise<string>;
}

/** Starts the server with a certificate of a folder (`issuer.crt`, `issuer.key`). */
export async function startIssuers(folder: string, { keys, signClaims }: Published): Promise<IssuerServer> {
  const tls = { cert: readFileSync(path.join(folder, "issuer.crt")), key: readFileSync(path.join(folder, "issuer.key")) };
  const server = createServer(tls, (incoming, response) => {
    if (incoming.url === "/claims") {
      void signClaims(origin).then((token) => response.end(token));
      return;
    }
    const [, name = "", document = ""] = /^\/i\/([a-z-]+)\/(.*)$/.exec(incoming.url ?? "") ?? [];
    const issuer = `${origin}/i/${name}`;
    const documents: Readonly<Record<string, unknown>> = {
      ".well-known/openid-configuration": { issuer, jwks_uri: `${issuer}/keys`, id_token_signing_alg_values_supported: ["ES256"] },
      keys: { keys },
    };
    response.writeHead(document in documents ? 200 : 404, { "content-type": "application/json" });
    response.end(JSON.stringify(documents[document] ?? {}));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address is never a path.
  const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

/** A fetch for keys that trusts one authority. */
export function createTrustingFetch(authorityPem: string): FetchKeys {
  return async (url, { headers, signal }) => {
    const outgoing = request(url, { ca: authorityPem, headers, signal });
    outgoing.end();
    const [response] = await once(outgoing, "response");
    return { status: response.statusCode, body: Readable.toWeb(response) };
  };
}
