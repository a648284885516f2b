import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { renderLoadBalancerManifests, renderLoadBalancerRbac } from "#cli/manifests/load-balancer-manifests.ts";

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly {
    readonly apiGroups: string[];
    readonly resources: string[];
    readonly resourceNames?: string[];
    readonly verbs: string[];
  }[];
  readonly spec?: { readonly template?: { readonly spec: { readonly containers: readonly [{ readonly args: readonly string[] }] } } };
}

function render(flags: readonly string[] = []): readonly Manifest[] {
  return parseAllDocuments(renderLoadBalancerManifests({ image: "image:1", flags }), { uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

const rightsOf = (kind: string) =>
  render()
    .filter((manifest) => manifest.kind === kind)
    .flatMap(({ rules = [] }) => rules)
    .flatMap(({ apiGroups, resources, resourceNames = [], verbs }) =>
      verbs.map((verb) => [verb, `${resources.join()}${apiGroups.join() && `.${apiGroups.join()}`}`, ...resourceNames].join(" ")),
    );

describe("the manifests of the role load-balancer", () => {
  test("have the rights that are in infra/rbac", () => {
    expect(readFileSync("infra/rbac/load-balancer.yaml", "utf8")).toContain(renderLoadBalancerRbac());
  });

  test("give no right to change a Service, a Node, or a Lease of somebody else's", () => {
    expect([rightsOf("ClusterRole"), rightsOf("Role")]).toEqual([
      [
        ...["list services", "watch services", "patch services/status", "list nodes", "watch nodes"],
        ...["list endpointslices.discovery.k8s.io", "watch endpointslices.discovery.k8s.io"],
        ...["get namespaces kube-system", "create events.events.k8s.io"],
      ],
      [
        ...["create leases.coordination.k8s.io", "get leases.coordination.k8s.io sallyport-load-balancer-node-ip"],
        "update leases.coordination.k8s.io sallyport-load-balancer-node-ip",
      ],
    ]);
  });

  test("have everything that is named in the one namespace", () => {
    const names = render().map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ""}/${metadata.name}`);
    expect(names).toEqual([
      "Namespace /sallyport-load-balancer",
      "ServiceAccount sallyport-load-balancer/sallyport-load-balancer",
      "ClusterRole /sallyport-load-balancer",
      "ClusterRoleBinding /sallyport-load-balancer",
      "Role sallyport-load-balancer/sallyport-load-balancer",
      "RoleBinding sallyport-load-balancer/sallyport-load-balancer",
      "Deployment sallyport-load-balancer/sallyport-load-balancer",
      "PodDisruptionBudget sallyport-load-balancer/sallyport-load-balancer",
    ]);
  });

  test("hand flags on as they are", () => {
    const deployment = render(["--node-selector=a in (b)", "--class=$(POD_NAME)"]).find(({ kind }) => kind === "Deployment");
    expect(deployment?.spec?.template?.spec.containers[0].args).toEqual([
      "agent",
      "--roles=load-balancer",
      "--node-selector=a in (b)",
      "--class=$$(POD_NAME)",
    ]);
  });
});
