/** The control plane of a test cluster on the host: etcd, the apiservers, the controllers, the scheduler and the DNS server. */
import { writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import path from "node:path";

import { clusterFiles } from "./cache.ts";
import type { Program } from "./processes.ts";

export interface ApiserverPlan {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export interface ControlPlanePlan {
  readonly folder: string;
  readonly etcdUrl: string;
  readonly etcdPeerUrl: string;
  readonly apiservers: readonly ApiserverPlan[];
  /** Whether the addresses are routable, so that the apiservers can keep default/kubernetes up to date themselves. */
  readonly routable: boolean;
  /** One for each IP family. */
  readonly serviceSubnets: readonly string[];
  readonly authenticationConfiguration?: string;
  readonly apiserverFlags: readonly string[];
}

const loopback = "127.0.0.1";

/** A TCP port of an address that nobody uses now. */
export async function freePort(address = loopback): Promise<number> {
  const server = createServer();
  server.listen(0, address);
  await once(server, "listening");
  // A TCP server's address is never a path.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export function etcdProgram(plan: ControlPlanePlan): Program {
  return kubeProgram("etcd", "etcd", [
    `--data-dir=${path.join(plan.folder, "etcd")}`,
    // Its data is thrown away with the cluster.
    "--unsafe-no-fsync",
    `--listen-client-urls=${plan.etcdUrl}`,
    `--advertise-client-urls=${plan.etcdUrl}`,
    `--listen-peer-urls=${plan.etcdPeerUrl}`,
    `--initial-advertise-peer-urls=${plan.etcdPeerUrl}`,
    `--initial-cluster=default=${plan.etcdPeerUrl}`,
  ]);
}

export function apiserverProgram(plan: ControlPlanePlan, apiserver: ApiserverPlan): Program {
  const pki = (name: string): string => path.join(plan.folder, "pki", name);
  return kubeProgram(apiserver.name, "kube-apiserver", [
    `--etcd-servers=${plan.etcdUrl}`,
    `--bind-address=${apiserver.address}`,
    `--secure-port=${apiserver.port}`,
    `--advertise-address=${apiserver.address}`,
    `--endpoint-reconciler-type=${plan.routable ? "lease" : "none"}`,
    `--service-cluster-ip-range=${plan.serviceSubnets.join(",")}`,
    "--authorization-mode=Node,RBAC",
    "--allow-privileged=true",
    `--client-ca-file=${pki("ca.crt")}`,
    `--tls-cert-file=${pki("apiserver.crt")}`,
    `--tls-private-key-file=${pki("apiserver.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${pki("service-account.pub")}`,
    `--service-account-signing-key-file=${pki("service-account.key")}`,
    "--kubelet-preferred-address-types=InternalIP",
    `--kubelet-client-certificate=${pki("admin.crt")}`,
    `--kubelet-client-key=${pki("admin.key")}`,
    `--kubelet-certificate-authority=${pki("ca.crt")}`,
    `--requestheader-client-ca-file=${pki("ca.crt")}`,
    "--requestheader-allowed-names=front-proxy",
    "--requestheader-username-headers=X-Remote-User",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    `--proxy-client-cert-file=${pki("front-proxy.crt")}`,
    `--proxy-client-key-file=${pki("front-proxy.key")}`,
    ...(plan.authenticationConfiguration === undefined ? [] : [`--authentication-config=${authenticationFile(plan.folder)}`]),
    ...plan.apiserverFlags,
  ]);
}

/** The programs that need an apiserver to talk to. */
export function controllerPrograms(plan: ControlPlanePlan): readonly Program[] {
  const file = (name: string): string => path.join(plan.folder, name);
  return [
    kubeProgram("controller-manager", "kube-controller-manager", [
      `--kubeconfig=${file("controller-manager.kubeconfig")}`,
      `--service-account-private-key-file=${file("pki/service-account.key")}`,
      `--root-ca-file=${file("pki/ca.crt")}`,
      `--cluster-signing-cert-file=${file("pki/ca.crt")}`,
      `--cluster-signing-key-file=${file("pki/ca.key")}`,
      "--use-service-account-credentials",
      "--allocate-node-cidrs=false",
      "--leader-elect=false",
      "--secure-port=0",
    ]),
    kubeProgram("scheduler", "kube-scheduler", [`--kubeconfig=${file("scheduler.kubeconfig")}`, "--leader-elect=false", "--secure-port=0"]),
  ];
}

/** The DNS server on the host, which gives its own address for the tests' host names. */
export function dnsProgram(folder: string, address: string, hostNames: readonly string[]): Program {
  const corefile = path.join(folder, "Corefile");
  const lines = [
    ".:53 {",
    `  bind ${address}`,
    "  errors",
    ...(hostNames.length === 0 ? [] : ["  hosts {", `    ${address} ${hostNames.join(" ")}`, "    fallthrough", "  }"]),
    "  kubernetes cluster.local in-addr.arpa {",
    `    kubeconfig ${path.join(folder, "admin.kubeconfig")}`,
    "    pods insecure",
    "    ttl 5",
    "  }",
    "}",
  ];
  writeFileSync(corefile, `${lines.join("\n")}\n`);
  return { name: "coredns", command: [clusterFiles.coredns, "-conf", corefile] };
}

/** The file that `--authentication-config` names; an apiserver reads it again when it changes. */
export function authenticationFile(folder: string): string {
  return path.join(folder, "authentication.yaml");
}

/** A program of the all-in-one binary. */
export function kubeProgram(name: string, program: string, flags: readonly string[]): Program {
  return { name, command: [clusterFiles.kube, program, ...flags] };
}
