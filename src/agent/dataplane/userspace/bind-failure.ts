/** Says why a frontend could not be opened, and what to do about it. */
import type { Frontend } from "./frontends.ts";

/** The reason of a system error, for people; `serviceCidrs` are the ranges of cluster IPs. */
export function explainBindFailure(error: unknown, frontend: Frontend, serviceCidrs: readonly string[]): string {
  const { address, port } = frontend;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  switch (code) {
    case "EADDRNOTAVAIL":
      return notLocal(frontend, serviceCidrs);
    case "EACCES":
    case "EPERM":
      return `port ${port} needs the capability NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start=0`;
    case "EADDRINUSE":
      return `another program listens at ${address} port ${port}: stop it, or give the Service another port`;
    case "EMFILE":
    case "ENFILE":
      return "no file descriptor is left: raise the limit of open files (`ulimit -n`, LimitNOFILE)";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

/** A local route is enough to listen at an IPv4 address; of IPv6 the kernel checks addresses alone, unless it is told not to (Linux 6.18). */
function notLocal({ kind, address, servicePort }: Frontend, serviceCidrs: readonly string[]): string {
  const isClusterIp = kind === "clusterIp";
  const ranges = isClusterIp && serviceCidrs.length > 0 ? serviceCidrs : [address];
  const commands = ranges.map((range) => `ip route add local ${range} dev lo`);
  if (servicePort.family === "IPv6") commands.push("sysctl -w net.ipv6.ip_nonlocal_bind=1");
  const advice = commands.map((command) => `\`${command}\``).join(" and ");
  return isClusterIp
    ? `${address} is no address of this machine: run ${advice} once as root, for all cluster IPs`
    : `${address} is no address of this machine: give it to an interface, or run ${advice} as root`;
}
