/**
 * The gateway on a workerd of one's own: the same bundle as on Cloudflare, Durable Objects on the local disk, TLS by workerd itself.
 * https://github.com/cloudflare/workerd/blob/main/src/workerd/server/workerd.capnp describes every field used here.
 */

/** What a self-hosted gateway is made of. Paths are embedded relative to the folder that the configuration is written to. */
export interface GatewayConfiguration {
  /** `host:port` to listen on. */
  readonly listen: string;
  /** File names beside the configuration: the Worker's bundle, and the certificate chain and key of its TLS, PEM. */
  readonly bundle: string;
  readonly certificate: string;
  readonly key: string;
  /** PEM files of authorities that the gateway trusts beside the browsers', for issuers of a company's own CA. */
  readonly trusted: readonly string[];
  /** Folder for Durable Object storage: their SQLite needs a disk. */
  readonly storage: string;
  /** The Worker's variables, as wrangler.toml names them. */
  readonly variables: Readonly<Record<string, string>>;
}

/** The compatibility date of wrangler.toml: both must be the same runtime. */
export const compatibilityDate = "2026-11-01";

/** The compatibility flags of wrangler.toml. Without the signal a gateway would not notice that a client has gone. */
export const compatibilityFlags: readonly string[] = ["enable_request_signal"];

/** The configuration as Cap'n Proto text. */
export function renderWorkerdConfig(gateway: GatewayConfiguration): string {
  const trusted = gateway.trusted.map((file) => `embed ${text(file)}`).join(", ");
  const variables = Object.entries(gateway.variables).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`);
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "gateway", worker = .gateway),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true, trustedCertificates = [${trusted}]))),
    (name = "storage", disk = (path = ${text(gateway.storage)}, writable = true)),
  ],
  sockets = [
    (name = "https", address = ${text(gateway.listen)}, service = "gateway", https = (
      options = (),
      tlsOptions = (keypair = (privateKey = embed ${text(gateway.key)}, certificateChain = embed ${text(gateway.certificate)})),
    )),
  ],
);

const gateway :Workerd.Worker = (
  modules = [(name = "main.js", esModule = embed ${text(gateway.bundle)})],
  compatibilityDate = "${compatibilityDate}",
  compatibilityFlags = [${compatibilityFlags.map(text).join(", ")}],
  durableObjectNamespaces = [
    (className = "ClusterHub", uniqueKey = "sallyport-cluster-hub", enableSql = true),
    (className = "Registry", uniqueKey = "sallyport-registry", enableSql = true),
    (className = "Sessions", uniqueKey = "sallyport-sessions", enableSql = true),
    (className = "TokenIssuer", uniqueKey = "sallyport-token-issuer", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [
    (name = "HUB", durableObjectNamespace = "ClusterHub"),
    (name = "REGISTRY", durableObjectNamespace = "Registry"),
    (name = "SESSIONS", durableObjectNamespace = "Sessions"),
    (name = "ISSUER", durableObjectNamespace = "TokenIssuer"),
    ${variables.join(",\n    ")},
  ],
);
`;
}

/** A Cap'n Proto text literal. */
function text(value: string): string {
  return JSON.stringify(value).replaceAll(/\\u00([0-9a-f]{2})/g, "\\x$1");
}
