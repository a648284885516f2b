import { readFileSync } from "node:fs";

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";

import { renderAgentManifests, renderAgentRbac } from "#cli/manifests/agent-manifests.ts";
import { type AgentManifestOptions, agentSubject } from "#cli/manifests/agent-options.ts";
import { type ClusterName, parseClusterName } from "#core/brand.ts";

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly name: string };
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

function clusterName(text: string): ClusterName {
  const name = parseClusterName(text);
  if (name === undefined) throw new Error(`${text} is no cluster name`);
  return name;
}

function makeOptions(changes: Partial<AgentManifestOptions> = {}): AgentManifestOptions {
  return {
    cluster: clusterName("blue"),
    gateway: "https://gateway.test",
    authenticationConfiguration: "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n",
    allowedGroups: ["team"],
    allowedKubeletPaths: [],
    extraKeys: [],
    image: "sallyport/agent:test",
    replicas: 2,
    joinAudience: "sallyport-join",
    ...changes,
  };
}

/** Reads the rendered text as Kubernetes does. */
function parseManifests(text: string): readonly Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

function find(manifests: readonly Manifest[], kind: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind);
  if (found === undefined) throw new Error(`no ${kind}`);
  return found;
}

function render(changes: Partial<AgentManifestOptions> = {}): readonly Manifest[] {
  return parseManifests(renderAgentManifests(makeOptions(changes)));
}

function argumentsOf(manifests: readonly Manifest[]): readonly string[] {
  const deployment = find(manifests, "Deployment") as unknown as {
    spec: { template: { spec: { containers: { args: string[] }[] } } };
  };
  return deployment.spec.template.spec.containers[0]?.args ?? [];
}

function ruleFor(manifests: readonly Manifest[], resource: string): Rule | undefined {
  return manifests.flatMap(({ rules }) => rules ?? []).find((rule) => rule.resources.includes(resource));
}

describe("the manifests", () => {
  test("are the files in infra, for the example cluster", () => {
    const rendered = readFileSync("infra/manifests/agent.yaml", "utf8");
    const rights = readFileSync("infra/rbac/agent.yaml", "utf8").split("\n").slice(1).join("\n");
    expect(rendered).toContain(rights);
  });

  test("come in an order in which each finds what it needs", () => {
    const kinds = render().map(({ kind }) => kind);
    expect(kinds.slice(0, 2)).toEqual(["Namespace", "ServiceAccount"]);
    expect(kinds.indexOf("Deployment")).toBeGreaterThan(kinds.indexOf("ConfigMap"));
  });

  test("run the agent under the ServiceAccount that the gateway is told", () => {
    const { metadata } = find(render(), "ServiceAccount");
    expect(`system:serviceaccount:${metadata.namespace}:${metadata.name}`).toBe(agentSubject);
  });

  test("hold no secret", () => {
    expect(find(render(), "Secret").data).toBeUndefined();
  });

  test("carry any configuration text exactly", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^([ a-z:#|>-]|\n|\t|\r){0,40}$/),
      fc.lorem().map((words) => `  ${words}\n`),
    );
    fc.assert(
      fc.property(text, (authenticationConfiguration) => {
        const { data } = find(render({ authenticationConfiguration }), "ConfigMap");
        expect(data).toEqual({ "authentication.yaml": authenticationConfiguration });
      }),
    );
  });

  test("pass any group name to the agent exactly, and let no value become another flag or field", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1 }), (group) => {
        const flags = argumentsOf(render({ allowedGroups: [group] })).filter((flag) => flag.startsWith("--allow-group="));
        expect(flags).toEqual([`--allow-group=${group.replaceAll("$", () => "$$")}`]);
      }),
    );
  });

  test("pass the kubelet's paths to the agent that it may be asked for", () => {
    expect(argumentsOf(render({ allowedKubeletPaths: ["/run/*", "/debug/pprof/heap"] }))).toEqual(
      expect.arrayContaining(["--allow-kubelet-path=/run/*", "--allow-kubelet-path=/debug/pprof/heap"]),
    );
  });

  test("keep Kubernetes from replacing a variable inside a value", () => {
    expect(argumentsOf(render({ allowedGroups: ["$(POD_NAME)"] }))).toContain("--allow-group=$$(POD_NAME)");
  });

  test("give the agent the files and addresses that it was registered with, and their ports in the network policy", () => {
    const manifests = render({
      gateway: "https://gateway.test:8443",
      gatewayCa: "PEM\n",
      issuerKeys: "{}",
      apiservers: ["https://10.0.0.1:7443"],
    });
    expect(argumentsOf(manifests)).toEqual(
      expect.arrayContaining([
        "--gateway=https://gateway.test:8443",
        "--gateway-ca=/etc/sallyport/gateway-ca.crt",
        "--issuer-keys=/etc/sallyport/issuer-keys.json",
        "--apiserver=https://10.0.0.1:7443",
      ]),
    );
    const policy = find(manifests, "NetworkPolicy") as unknown as { spec: { egress: { ports: { port: number }[] }[]; ingress?: unknown } };
    expect(policy.spec.egress[1]?.ports.map(({ port }) => port)).toEqual([443, 6443, 7443, 8443]);
    expect(policy.spec.ingress).toBeUndefined();
  });
});

describe("the agent's rights", () => {
  test("have no wildcard and bind no role but their own", () => {
    const manifests = parseManifests(renderAgentRbac(makeOptions({ allowedGroups: ["team*"] })));
    const rules = manifests.flatMap(({ rules: own }) => own ?? []);
    expect(rules.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs])).not.toContain("*");
    const roles = manifests.filter(({ rules: own }) => own !== undefined).map(({ metadata }) => metadata.name);
    expect(manifests.flatMap(({ roleRef }) => (roleRef === undefined ? [] : [roleRef.name]))).toEqual(roles);
  });

  test.each([
    { resource: "serviceaccounts" },
    { resource: "pods/portforward" },
    { resource: "nodes/proxy" },
    { resource: "userextras" },
    { resource: "userextras/*" },
  ])("do not name $resource", ({ resource }) => {
    expect(ruleFor(render(), resource)).toBeUndefined();
  });

  test.each([
    ["pods", ["get", "list"]],
    ["services", ["get"]],
    ["nodes", ["get"]],
    ["deployments", ["get"]],
  ])("read %s for forwards with %j and no other verb", (resource, verbs) => {
    expect(ruleFor(render(), resource)?.verbs).toEqual(verbs);
  });

  test("name each group of an exact allow-list", () => {
    expect(ruleFor(render({ allowedGroups: ["a", "b"] }), "groups")?.resourceNames).toEqual(["a", "b"]);
  });

  test("leave groups to the agent's allow-list where it has prefixes", () => {
    expect(ruleFor(render({ allowedGroups: ["a", "b-*"] }), "groups")).toMatchObject({ verbs: ["impersonate"] });
    expect(ruleFor(render({ allowedGroups: ["a", "b-*"] }), "groups")?.resourceNames).toBeUndefined();
  });

  test("let no group through where the allow-list is empty", () => {
    expect(ruleFor(render({ allowedGroups: [] }), "groups")).toBeUndefined();
  });

  test("name each extra key once, with the agent's own", () => {
    const rule = ruleFor(render({ extraKeys: ["example.com/a", "example.com/a"] }), "userextras/example.com/a");
    expect(rule?.resources).toEqual([
      "userextras/authentication.kubernetes.io/credential-id",
      "userextras/example.com/a",
      "userextras/sallyport.dev/original-user",
    ]);
  });

  test("reach one Secret, to read and to update", () => {
    expect(ruleFor(render(), "secrets")).toMatchObject({ verbs: ["get", "update"], resourceNames: ["sallyport-agent-key"] });
  });
});
