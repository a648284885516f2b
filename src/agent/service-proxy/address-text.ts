/** Addresses and ranges as people write them. */
import { isIPv4, isIPv6 } from "node:net";
import type { ListenAddress } from "./kube-proxy-configuration.ts";

/** Whether a text is an address range, such as `10.0.0.0/8`. */
export function isCidr(text: string): boolean {
  const [address, prefix, ...rest] = text.split("/");
  if (address === undefined || prefix === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefix)) return false;
  return (isIPv4(address) && Number(prefix) <= 32) || (isIPv6(address) && Number(prefix) <= 128);
}

/** The family of an address or range. */
export function familyOf(text: string): "IPv4" | "IPv6" {
  return text.includes(":") ? "IPv6" : "IPv4";
}

/** Reads `host:port`, `[host]:port`, or a host alone; undefined for anything else. */
export function parseListenAddress(text: string, defaultPort: number): ListenAddress | undefined {
  if (isIPv4(text) || isIPv6(text)) return { host: text, port: defaultPort };
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "";
  const number = Number(port);
  const isHost = bracketed === undefined ? isIPv4(host) : isIPv6(host) || isIPv4(host);
  return isHost && number >= 1 && number <= 65_535 ? { host, port: number } : undefined;
}

const units: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a Go duration (`1h30m`, `500ms`); undefined for what is none, and for a negative one. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!/^\+?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) ms += Number(number) * (units[unit ?? ""] ?? 0);
  return ms;
}
