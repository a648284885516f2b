/** How the two ends of a lane agree on a version before the first frame (RFC 6455 section 1.9, sub-protocols). */

/** Versions that this build speaks, best first. */
export const tunnelVersions = [1] as const;

const prefix = "sallyport.tunnel.v";

/** The sub-protocols that an agent offers, best first. */
export function offeredProtocols(): readonly string[] {
  return tunnelVersions.map((version) => `${prefix}${version}`);
}

/** The best version in a `Sec-WebSocket-Protocol` value that both ends speak, or undefined when there is none. */
export function chooseProtocol(offered: string | null): { readonly version: number; readonly protocol: string } | undefined {
  const names = new Set((offered ?? "").split(",").map((name) => name.trim()));
  const version = tunnelVersions.find((candidate) => names.has(`${prefix}${candidate}`));
  return version === undefined ? undefined : { version, protocol: `${prefix}${version}` };
}

/** The heartbeat: a text message that the Durable Object's runtime answers without waking it. */
export const heartbeatRequest = "sallyport-heartbeat";
export const heartbeatResponse = "sallyport-alive";
