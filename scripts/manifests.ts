/** Writes infra/manifests and infra/rbac from the renderer that `sallyport cluster add` uses, for an example cluster; or, with --check, compares. */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { parseClusterName } from "#core/brand.ts";
import { renderAgentManifests, renderAgentRbac } from "#cli/manifests/agent-manifests.ts";
import type { AgentManifestOptions } from "#cli/manifests/agent-options.ts";

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
  extraKeys: ["example.com/department"],
  image: "sallyport/agent:0.1.0",
  replicas: 2,
  joinAudience: "https://gateway.example.com/clusters/production",
};

const head = "# An example, rendered by scripts/manifests.ts; `sallyport cluster add` renders one for each cluster.\n";
const files = [
  { path: "infra/manifests/agent.yaml", text: head + renderAgentManifests(example) },
  { path: "infra/rbac/agent.yaml", text: head + renderAgentRbac(example) },
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
