/** Where the built Kubernetes, its images and the downloaded tools are kept between runs. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

/** The Kubernetes that the tests run on; test/cluster/build/build.sh builds it. */
export const kubernetesVersion = "v1.34.4";

export const cacheFolder = process.env["SALLYPORT_CACHE"] ?? path.join(homedir(), ".cache", "sallyport");
const clusterFolder = path.join(cacheFolder, "cluster", kubernetesVersion);

/** Files that build.sh leaves in the cache. */
export const clusterFiles = {
  /** etcd, the control plane, the node's programs and kubectl in one binary; its first argument chooses. */
  kube: path.join(clusterFolder, "kube"),
  coredns: path.join(clusterFolder, "coredns"),
  /** Container images that every node gets. */
  images: ["pause", "busybox", "agnhost"].map((name) => path.join(clusterFolder, `${name}.tar`)),
} as const;

/** Files that build-e2e.sh leaves in the cache: Kubernetes' own end-to-end tests. */
export const conformanceFiles = {
  tests: path.join(clusterFolder, "e2e.test"),
  /** Runs several tests at a time. */
  ginkgo: path.join(clusterFolder, "ginkgo"),
  kubectl: path.join(clusterFolder, "kubectl"),
  /** Images that a few of the tests bring. */
  images: ["boom", "iptables"].map((name) => path.join(clusterFolder, `e2e-${name}.tar`)),
} as const;

/** Throws, with the command that helps, when the cache is not complete. */
export function assertClusterBuilt(): void {
  assertThere([clusterFiles.kube, clusterFiles.coredns, ...clusterFiles.images], "build.sh (10 to 20 minutes, once)");
}

/** The same for Kubernetes' own tests. */
export function assertConformanceBuilt(): void {
  assertThere(Object.values(conformanceFiles).flat(), "build-e2e.sh (4 minutes, once)");
}

function assertThere(files: readonly string[], command: string): void {
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length > 0) throw new Error(`${missing.join(", ")} missing: run test/cluster/build/${command}`);
}
