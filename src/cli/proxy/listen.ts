/** Listening where kubectl proxy would, and telling it in its words. */
import { once } from "node:events";
import { lstat, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { isIPv6 } from "node:net";

/** A TCP address and port, or the path of a unix socket. */
export type ListenPlace = { readonly address: string; readonly port: number } | { readonly path: string };

export type ListenResult =
  /** The bound address, or the socket's path. */
  { readonly type: "listening"; readonly address: string } | { readonly type: "failed"; readonly message: string };

/** Binds the server; an address that cannot be had is a result. */
export async function listen(server: Server, place: ListenPlace): Promise<ListenResult> {
  return "path" in place ? listenUnix(server, place.path) : listenTcp(server, place.address, place.port);
}

async function listenTcp(server: Server, address: string, port: number): Promise<ListenResult> {
  const shown = `${address}:${port}`;
  // kubectl joins the two as text, so that an IPv6 address needs its brackets.
  if (address.includes(":") && !/^\[[^[\]]*\]$/.test(address))
    return { type: "failed", message: `listen tcp: address ${shown}: too many colons in address` };
  const host = address.replaceAll(/[[\]]/g, "");
  // Go listens on all addresses of both families for the wildcard of either.
  const wildcard = ["", "0.0.0.0", "::"].includes(host);
  const failure = await bind(server, () => server.listen(port, wildcard ? "::" : host));
  const late = wildcard && failure?.code === "EAFNOSUPPORT" ? await bind(server, () => server.listen(port, "0.0.0.0")) : failure;
  if (late !== undefined) return { type: "failed", message: `listen tcp ${shown}: ${reasonOf(late)}` };
  const bound = server.address();
  if (bound === null || typeof bound === "string") return { type: "failed", message: `listen tcp ${shown}: it has no address` };
  return { type: "listening", address: `${isIPv6(bound.address) ? `[${bound.address}]` : bound.address}:${bound.port}` };
}

/** A socket of the same path is replaced, any other file is not; only the owner may connect. */
async function listenUnix(server: Server, path: string): Promise<ListenResult> {
  const old = await lstat(path).catch(() => undefined); // ENOENT
  if (old?.isSocket() === true) await rm(path, { force: true });
  const outer = process.umask(0o077);
  const binding = bind(server, () => server.listen(path)); // binds before it returns
  process.umask(outer);
  const failure = await binding;
  return failure === undefined
    ? { type: "listening", address: path }
    : { type: "failed", message: `listen unix ${path}: ${reasonOf(failure)}` };
}

async function bind(server: Server, start: () => void): Promise<NodeJS.ErrnoException | undefined> {
  const outcome = Promise.race([once(server, "listening").then(() => undefined), once(server, "error")]);
  try {
    start();
    const error = await outcome;
    return error?.[0] as NodeJS.ErrnoException | undefined; // an "error" of a net.Server is a system error
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: "bind: permission denied",
  EADDRINUSE: "bind: address already in use",
  EADDRNOTAVAIL: "bind: cannot assign requested address",
  EINVAL: "bind: invalid argument",
  ENOENT: "bind: no such file or directory",
  ENOTFOUND: "no such host",
};

function reasonOf(error: NodeJS.ErrnoException): string {
  return reasons[error.code ?? ""] ?? error.message;
}
