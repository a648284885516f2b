import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";

import { renderApiserverLbManifests } from "#cli/manifests/apiserver-lb-manifests.ts";

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly object[];
  readonly subjects?: readonly object[];
  readonly spec?: { readonly template: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly hostNetwork: boolean;
  readonly serviceAccountName: string;
  readonly containers: readonly { readonly args: readonly string[]; readonly securityContext: object }[];
}

const manifests = parseAllDocuments(renderApiserverLbManifests({ image: "image:1", listen: "127.0.0.1:7443" }), { uniqueKeys: true }).map(
  (document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  },
);

function find(kind: string): Manifest | undefined {
  return manifests.find((manifest) => manifest.kind === kind);
}

describe("the balancer's manifests", () => {
  test("give its account the right to look where the apiservers are, and no other", () => {
    expect(manifests.filter(({ kind }) => kind.endsWith("Role")).map(({ rules }) => rules)).toEqual([
      [{ apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list"] }],
    ]);
    expect(find("Role")?.metadata.namespace).toBe("default");
    expect(find("RoleBinding")?.subjects).toEqual([
      { kind: "ServiceAccount", name: "sallyport-apiserver-lb", namespace: "sallyport-apiserver-lb" },
    ]);
  });

  test("run it on the host's network without any power over the host", () => {
    const pod = find("DaemonSet")?.spec?.template.spec;
    expect(pod?.hostNetwork).toBe(true);
    expect(pod?.serviceAccountName).toBe("sallyport-apiserver-lb");
    expect(pod?.containers[0]?.args).toContain("--listen=127.0.0.1:7443");
    expect(pod?.containers[0]?.securityContext).toMatchObject({ runAsNonRoot: true, capabilities: { drop: ["ALL"] } });
  });
});
