/**
 * Writes infra/manifests, infra/rbac and infra/workerd from the renderers that `sallyport cluster add` and `sallyport demo` use, for an
 * example cluster and gateway; or, with --check, compares.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { parseClusterName } from "#core/brand.ts";
import { renderAgentManifests, renderAgentRbac } from "#cli/manifests/agent-manifests.ts";
import type { AgentManifestOptions } from "#cli/manifests/agent-options.ts";
import { renderLoadBalancerManifests, renderLoadBalancerRbac } from "#cli/manifests/load-balancer-manifests.ts";
import { renderWorkerdConfig } from "#cli/workerd/config.ts";
import type { GatewayConfiguration } from "#cli/workerd/config.ts";
import { renderApiserverLbManifests, renderApiserverLbRbac } from "#cli/manifests/apiserver-lb-manifests.ts";
import type { ApiserverLbManifestOptions } from "#cli/manifests/apiserver-lb-manifests.ts";
import { renderServiceProxyManifests, renderServiceProxyRbac } from "#cli/manifests/service-proxy-manifests.ts";
import type { ServiceProxyManifestOptions } from "#cli/manifests/service-proxy-manifests.ts";

const cluster = parseClusterName("production");
if (cluster === undefined) throw new Error("the example cluster's name is not a name");

const example: AgentManifestOptions = {
  cluster,
  gateway: "https://gateway.example.com",
  authenticationConfiguration: `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer:
      url: https://login.example.com
      audiences: [sallyport-production]
    claimMappings:
      username: { claim: email, prefix: "oidc:" }
      groups: { claim: groups, prefix: "oidc:" }
      uid: { claim: sub }
      extra:
        - { key: example.com/department, valueExpression: claims.department }
`,
  allowedGroups: ["oidc:developers", "oidc:operators"],
  allowedKubeletPaths: [],
  extraKeys: ["example.com/department"],
  image: "sallyport/agent:0.1.0",
  replicas: 2,
  joinAudience: "https://gateway.example.com/clusters/production",
};

/** What docs/self-hosting.md starts from. Paths count from infra/workerd. */
const gateway: GatewayConfiguration = {
  listen: "*:443",
  bundle: "../../dist/worker/main.js",
  certificate: "tls.crt",
  key: "tls.key",
  trusted: [],
  storage: "/var/lib/sallyport",
  variables: {
    GATEWAY_URL: "https://gateway.example.com",
    CLUSTER_DOMAIN: "",
    ADMIN_AUTHENTICATION: `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer: { url: "https://login.example.com", audiences: [sallyport-gateway] }
    claimMappings:
      username: { claim: email, prefix: "oidc:" }
      groups: { claim: groups, prefix: "oidc:" }
`,
    ADMIN_RULE: `"oidc:platform" in user.groups`,
    ADMIN_LOGIN: JSON.stringify({ issuer: "https://login.example.com", clientId: "sallyport-gateway", scopes: ["openid", "email"] }),
    ADMIN_ISSUER_KEYS: "",
    CLIENT_ADDRESS_HEADER: "",
    UPLOAD_BUFFER_MIB: "512",
    MAX_STREAMS_PER_USER: "2000",
    BUILD: "0.1.0",
  },
};

const gatewayHead = "# An example, rendered by scripts/manifests.ts; docs/self-hosting.md says what to change in it.\n";
const serviceProxy: ServiceProxyManifestOptions = {
  configuration: `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
`,
  apiservers: ["https://apiserver.example.com:6443"],
  image: "sallyport/service-proxy:0.1.0",
};

const serviceProxyHead =
  "# An example, rendered by scripts/manifests.ts: put your apiserver's address and your KubeProxyConfiguration into it.\n";
const apiserverLb: ApiserverLbManifestOptions = { image: "sallyport/agent:0.1.0", listen: "127.0.0.1:7443" };
const apiserverLbHead = "# Rendered by scripts/manifests.ts: put the image's name in your registry into it.\n";
const loadBalancerHead = "# An example, rendered by scripts/manifests.ts: put the flags that you want into it.\n";
const head = "# An example, rendered by scripts/manifests.ts; `sallyport cluster add` renders one for each cluster.\n";
const files = [
  { path: "infra/manifests/agent.yaml", text: head + renderAgentManifests(example) },
  { path: "infra/rbac/agent.yaml", text: head + renderAgentRbac(example) },
  { path: "infra/workerd/gateway.capnp", text: gatewayHead + renderWorkerdConfig(gateway) },
  { path: "infra/manifests/service-proxy.yaml", text: serviceProxyHead + renderServiceProxyManifests(serviceProxy) },
  {
    path: "infra/manifests/load-balancer.yaml",
    text: loadBalancerHead + renderLoadBalancerManifests({ image: "sallyport/agent:0.1.0", flags: ["--driver=node-ip"] }),
  },
  { path: "infra/rbac/load-balancer.yaml", text: loadBalancerHead + renderLoadBalancerRbac() },
  { path: "infra/rbac/service-proxy.yaml", text: serviceProxyHead + renderServiceProxyRbac(serviceProxy) },
  { path: "infra/manifests/apiserver-lb.yaml", text: apiserverLbHead + renderApiserverLbManifests(apiserverLb) },
  { path: "infra/rbac/apiserver-lb.yaml", text: apiserverLbHead + renderApiserverLbRbac() },
];

const isCheck = process.argv.includes("--check");
for (const { path, text } of files) {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url));
  if (!isCheck) {
    await writeFile(file, text);
  } else if ((await readFile(file, "utf8")) !== text) {
    console.error(`${path} is not what the renderer gives; run: node scripts/manifests.ts`);
    process.exitCode = 1;
  }
}
