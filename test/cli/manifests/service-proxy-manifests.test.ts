import { readFileSync } from "node:fs";

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";

import {
  renderServiceProxyManifests,
  renderServiceProxyRbac,
  type ServiceProxyManifestOptions,
} from "#cli/manifests/service-proxy-manifests.ts";

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly roleRef?: { readonly name: string };
  readonly subjects?: readonly { readonly name: string; readonly namespace: string }[];
  readonly rules?: readonly { readonly apiGroups: string[]; readonly resources: string[]; readonly verbs: string[] }[];
  readonly spec?: { readonly template: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly hostNetwork: boolean;
  readonly serviceAccountName: string;
  readonly containers: readonly [{ readonly args: readonly string[]; readonly securityContext: unknown }];
}

function render(changes: Partial<ServiceProxyManifestOptions> = {}): readonly Manifest[] {
  const options = { configuration: "kind: KubeProxyConfiguration\n", apiservers: ["https://10.0.0.1:6443"], image: "image:1", ...changes };
  return parseAllDocuments(renderServiceProxyManifests(options), { uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

function find(manifests: readonly Manifest[], kind: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind);
  if (found === undefined) throw new Error(`no ${kind}`);
  return found;
}

function podOf(manifests: readonly Manifest[]): PodSpec {
  const { spec } = find(manifests, "DaemonSet");
  if (spec === undefined) throw new Error("no pod");
  return spec.template.spec;
}

function rightsOf(manifests: readonly Manifest[]): readonly string[] {
  return listRights(find(manifests, "ClusterRole"));
}

function listRights({ rules = [] }: Manifest): readonly string[] {
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}${group && `.${group}`}`))),
  );
}

describe("the service proxy's manifests", () => {
  test("have the rights that are in infra/rbac, for the example cluster", () => {
    const rights = readFileSync("infra/rbac/service-proxy.yaml", "utf8").split("\n").slice(1).join("\n");
    expect(readFileSync("infra/manifests/service-proxy.yaml", "utf8")).toContain(rights);
    expect(renderServiceProxyRbac({ configuration: "", apiservers: [], image: "" })).toBe(rights);
  });

  test("give it what it reads, events, and nothing else", () => {
    expect(rightsOf(render())).toEqual([
      "list services",
      "watch services",
      "list endpointslices.discovery.k8s.io",
      "watch endpointslices.discovery.k8s.io",
      "list servicecidrs.networking.k8s.io",
      "watch servicecidrs.networking.k8s.io",
      "list nodes",
      "watch nodes",
      "create events.events.k8s.io",
    ]);
  });

  test("let it tell its state in its own namespace, and the agent read it, and neither more", () => {
    const manifests = render();
    const roles = manifests.filter(({ kind }) => kind === "Role");
    const bindings = manifests.filter(({ kind }) => kind === "RoleBinding");
    const leases = "leases.coordination.k8s.io";
    expect(roles.map(listRights)).toEqual([[`create ${leases}`, `get ${leases}`, `update ${leases}`], [`list ${leases}`]]);
    expect([...roles, ...bindings].map(({ metadata }) => metadata.namespace)).toEqual(
      Array.from({ length: 4 }, () => "sallyport-service-proxy"),
    );
    expect(
      bindings.map(({ roleRef, subjects }) => [roleRef?.name, subjects?.map(({ name, namespace }) => `${namespace}/${name}`)]),
    ).toEqual([
      [roles[0]?.metadata.name, ["sallyport-service-proxy/sallyport-service-proxy"]],
      [roles[1]?.metadata.name, ["sallyport-system/sallyport-agent"]],
    ]);
  });

  test("let it change nodes only where a taint is to be removed, and name that taint", () => {
    const manifests = render({ startupTaint: "example.com/not-ready" });
    expect(rightsOf(manifests).slice(-2)).toEqual(["get nodes", "patch nodes"]);
    expect(podOf(manifests).containers[0].args).toContain("--startup-taint=example.com/not-ready");
  });

  test("give it one capability, a read-only root and a namespace of its own", () => {
    const manifests = render();
    const pod = podOf(manifests);
    expect(pod.containers[0].securityContext).toEqual({
      runAsUser: 0,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] },
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect([pod.hostNetwork, pod.serviceAccountName]).toEqual([true, find(manifests, "ServiceAccount").metadata.name]);
    expect(find(manifests, "Namespace").metadata.name).not.toBe("sallyport-system");
  });

  test("carry any configuration text exactly, and let no value become another flag", () => {
    const text = fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^([ a-z:#|>-]|\n|\t|\r){0,40}$/));
    fc.assert(
      fc.property(text, fc.string({ unit: "binary" }), (configuration, url) => {
        const manifests = render({ configuration, apiservers: [url] });
        expect(find(manifests, "ConfigMap").data).toEqual({ "config.conf": configuration });
        expect(podOf(manifests).containers[0].args).toEqual([
          "agent",
          "--roles=service-proxy",
          "--config=/var/lib/kube-proxy/config.conf",
          `--apiserver=${url.replaceAll("$", () => "$$")}`,
          "--sysctl-folder=/host/proc/sys",
        ]);
      }),
    );
  });
});
