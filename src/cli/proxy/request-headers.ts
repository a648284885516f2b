/**
 * The headers of a request to the apiserver: the client's, without those of the hop, and the proxy's own identity behind them.
 *
 * Who a request runs as is the proxy's to say. kubectl proxy lets a client's own Authorization or Impersonate-User win, so that a page or
 * a program that may use the proxy chooses its identity; here such a request is refused, never quietly run as somebody else.
 */
import { writeIdentity } from "#core/kube/impersonation.ts";
import { rawUpgradeHeader, rawUpgradeLine } from "#core/kube/raw-upgrade.ts";
import type { RawUpgrade } from "#core/kube/raw-upgrade.ts";
import { withoutHopByHop } from "#core/kube/headers.ts";
import type { HeaderPair, HeaderPairs } from "#core/kube/headers.ts";
import type { UserInfo } from "#core/kube/user-info.ts";
import { CommandError } from "#cli/output/failure.ts";
import { version } from "#cli/version.ts";

/** Names that say who somebody is, to the apiserver or to what it proxies to; or to the gateway, that a request is another than it seems. */
const identityName = /^(?:authorization|impersonate-.*|x-remote-.*|sallyport-.*)$/;

/** The first header that claims an identity or speaks for this proxy, by its name; also where a server behind could read `_` as `-`. */
export function identityHeader(headers: HeaderPairs): string | undefined {
  return headers.map(([name]) => name).find((name) => identityName.test(name.toLowerCase().replaceAll("_", "-")));
}

/** The lines of a WebSocket that carries another upgrade: the client's without those of any handshake, and what it carries. */
export function carriedHeaders(lines: HeaderPairs, upgrade: RawUpgrade): HeaderPairs {
  const kept = lines.filter(([name]) => name.toLowerCase() !== "host" && !name.toLowerCase().startsWith("sec-websocket-"));
  return [...kept, [rawUpgradeHeader, rawUpgradeLine(upgrade)]];
}

/** The lines of the kubeconfig's or the flags' impersonation; throws CONFIGURATION_INVALID when they cannot be written. */
export function impersonationHeaders(identity: UserInfo | undefined): HeaderPairs {
  if (identity === undefined) return [];
  const written = writeIdentity(identity);
  if (written.type === "headers") return written.headers;
  throw new CommandError({ code: "CONFIGURATION_INVALID", title: `The identity to impersonate is refused: ${written.message}` });
}

export interface RequestHeadersInput {
  readonly client: HeaderPairs;
  /** The apiserver's. */
  readonly host: string;
  readonly authorization: string | undefined;
  readonly impersonation: HeaderPairs;
  /** The peer's address; undefined on a unix socket. */
  readonly peer: string | undefined;
  /** Whether Connection and Upgrade pass. */
  readonly isUpgrade: boolean;
}

/** The lines in order; framing of a body is the caller's. */
export function writeProxyHeaders({ client, host, authorization, impersonation, peer, isUpgrade }: RequestHeadersInput): HeaderPairs {
  const named = (name: string): readonly string[] => client.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
  const kept = withoutHopByHop(client).filter(([name]) => !replacedNames.has(name.toLowerCase()));
  const forwardedFor = [...named("x-forwarded-for"), ...(peer === undefined ? [] : [peer])].join(", ");
  const lines: HeaderPair[] = [["Host", host], ...kept];
  if (named("user-agent").length === 0) lines.push(["User-Agent", `sallyport/${version}`]);
  if (forwardedFor !== "") lines.push(["X-Forwarded-For", forwardedFor]);
  if (isUpgrade) lines.push(["Connection", "Upgrade"], ...named("upgrade").map((value): HeaderPair => ["Upgrade", value]));
  else if (named("te").some((value) => value.toLowerCase().includes("trailers"))) lines.push(["Te", "trailers"]);
  if (authorization !== undefined) lines.push(["Authorization", authorization]);
  return [...lines, ...impersonation];
}

/** Written here anew, or the business of one hop: this server has answered `Expect: 100-continue` itself. */
const replacedNames: ReadonlySet<string> = new Set(["host", "x-forwarded-for", "content-length", "expect"]);
