# An example, rendered by scripts/manifests.ts; docs/self-hosting.md says what to change in it.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "gateway", worker = .gateway),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true, trustedCertificates = []))),
    (name = "storage", disk = (path = "/var/lib/sallyport", writable = true)),
  ],
  sockets = [
    (name = "https", address = "*:443", service = "gateway", https = (
      options = (),
      tlsOptions = (keypair = (privateKey = embed "tls.key", certificateChain = embed "tls.crt")),
    )),
  ],
);

const gateway :Workerd.Worker = (
  modules = [(name = "main.js", esModule = embed "../../dist/worker/main.js")],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["enable_request_signal"],
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
    (name = "GATEWAY_URL", text = "https://gateway.example.com"),
    (name = "CLUSTER_DOMAIN", text = ""),
    (name = "ADMIN_AUTHENTICATION", text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n  - issuer: { url: \"https://login.example.com\", audiences: [sallyport-gateway] }\n    claimMappings:\n      username: { claim: email, prefix: \"oidc:\" }\n      groups: { claim: groups, prefix: \"oidc:\" }\n"),
    (name = "ADMIN_RULE", text = "\"oidc:platform\" in user.groups"),
    (name = "ADMIN_LOGIN", text = "{\"issuer\":\"https://login.example.com\",\"clientId\":\"sallyport-gateway\",\"scopes\":[\"openid\",\"email\"]}"),
    (name = "ADMIN_ISSUER_KEYS", text = ""),
    (name = "CLIENT_ADDRESS_HEADER", text = ""),
    (name = "UPLOAD_BUFFER_MIB", text = "512"),
    (name = "MAX_STREAMS_PER_USER", text = "2000"),
    (name = "BUILD", text = "0.1.0"),
  ],
);
