/** `sallyport login`: signs in at the issuer that the gateway names, or takes a given token, and stores the session. */
import { readFile } from "node:fs/promises";
import { buildCommand } from "@stricli/core";
import { parseClusterName } from "#core/brand.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { readLoginConfiguration } from "#cli/gateway/client.ts";
import { chooseGateway, publicClient, writePreferredGateway } from "#cli/gateway/connection.ts";
import type { ChosenGateway, GatewayFlags } from "#cli/gateway/connection.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { renderListing } from "#cli/output/format.ts";
import type { OutputFormat } from "#cli/output/format.ts";
import { toPlainLine } from "#cli/output/plain-text.ts";
import { paint, wantsColor } from "#cli/output/style.ts";
import { withFileLock } from "#cli/session/file-lock.ts";
import type { SignIn } from "#cli/session/issuer.ts";
import { describeKey, renewalLock } from "#cli/session/obtain-token.ts";
import { isSystemError } from "#cli/session/private-file.ts";
import { signIn } from "#cli/session/sign-in.ts";
import type { FlowChoice } from "#cli/session/sign-in.ts";
import { decodeTokenClaims, isBearerToken } from "#cli/session/token-claims.ts";
import { sessionFiles, writeSession } from "#cli/session/token-store.ts";
import type { Session, SessionKey } from "#cli/session/token-store.ts";
import { gatewayFlagParameters, outputAliases, outputFlagParameter, toText } from "./flags.ts";

interface LoginFlags extends GatewayFlags {
  readonly cluster?: string;
  readonly device: boolean;
  readonly loopback: boolean;
  readonly redirectUri?: string;
  readonly tokenFile?: string;
  readonly token?: string;
  readonly output: OutputFormat;
}

export const command = buildCommand<LoginFlags, [string?], CliContext>({
  func: login,
  parameters: {
    flags: {
      ...gatewayFlagParameters,
      cluster: {
        kind: "parsed",
        parse: toText,
        brief: "Sign in to this cluster; without it, to the gateway itself",
        placeholder: "NAME",
        optional: true,
      },
      device: { kind: "boolean", brief: "Show a code to type in on any device", default: false },
      loopback: { kind: "boolean", brief: "Open this machine's browser", default: false },
      redirectUri: {
        kind: "parsed",
        parse: toText,
        brief: "Loopback address, when the issuer wants a fixed one",
        placeholder: "URL",
        optional: true,
      },
      tokenFile: {
        kind: "parsed",
        parse: toText,
        brief: "Store the token in this file instead of signing in",
        placeholder: "FILE",
        optional: true,
      },
      token: { kind: "parsed", parse: toText, brief: "Only `-`: store the token from standard input", placeholder: "-", optional: true },
      output: outputFlagParameter,
    },
    aliases: outputAliases,
    positional: { kind: "tuple", parameters: [{ brief: "URL of the gateway", placeholder: "gateway", parse: toText, optional: true }] },
  },
  docs: {
    brief: "Sign in to a cluster or to the gateway",
    customUsage: ["gw.example.com --cluster prod", "--cluster prod --device", "--cluster prod --token-file token.jwt", "gw.example.com"],
  },
});

async function login(this: CliContext, flags: LoginFlags, gatewayArgument?: string): Promise<void> {
  const gateway = await chooseGateway(this, gatewayArgument === undefined ? flags : { ...flags, gateway: gatewayArgument });
  const cluster = flags.cluster === undefined ? undefined : parseClusterName(flags.cluster);
  if (flags.cluster !== undefined && cluster === undefined) throw usageError(`"${flags.cluster}" is no cluster's name`);
  const key: SessionKey = { gateway: gateway.url, cluster };
  const choice = parseChoice(flags);
  const given = await readGivenToken(this, flags);
  const signedIn =
    given ?? (await signIn(this, { configuration: await readLogin(this, gateway, key), choice, redirectUri: flags.redirectUri }));
  const session: Session = { key, ...signedIn, authorities: gateway.authorities };
  const stored = await withFileLock({ path: sessionFiles(this.store, key).lock, ...renewalLock, time: this.time }, () =>
    writeSession(this.store, session),
  );
  if (stored.type === "busy") throw new CommandError({ code: "OVERLOADED", title: "Another sallyport process keeps the session locked" });
  await writePreferredGateway(this, gateway.url);
  await reportSignIn(this, session, flags.output);
}

function parseChoice(flags: LoginFlags): FlowChoice {
  const chosen = [flags.device, flags.loopback, flags.tokenFile !== undefined, flags.token !== undefined].filter(Boolean);
  if (chosen.length > 1) throw usageError("--device, --loopback, --token-file and --token exclude each other");
  if (flags.device) return { type: "device" };
  return flags.loopback ? { type: "loopback" } : { type: "automatic" };
}

async function readLogin(context: CliContext, gateway: ChosenGateway, key: SessionKey): Promise<LoginConfiguration> {
  const configuration = await readLoginConfiguration(publicClient(context, gateway), key.cluster);
  if (configuration !== undefined) return configuration;
  throw new CommandError({
    code: "LOGIN_UNAVAILABLE",
    title: `The ${describeKey(key)} names no login`,
    ...(key.cluster === undefined ? { next: ["sallyport login --cluster NAME", "sallyport login --token-file FILE"] } : {}),
  });
}

/** The token of --token-file or --token; a token in an argument would be seen by everybody on the machine, so only `-` is taken. */
async function readGivenToken(context: CliContext, flags: LoginFlags): Promise<SignIn | undefined> {
  if (flags.token !== undefined && flags.token !== "-")
    throw usageError(
      "--token takes only `-`",
      "A token in an argument can be read by every user of this machine: pipe it in, or use --token-file.",
    );
  if (flags.token === undefined && flags.tokenFile === undefined) return undefined;
  const token = (flags.tokenFile === undefined ? await context.readInput() : await readTokenFile(flags.tokenFile)).trim();
  const claims = isBearerToken(token) ? decodeTokenClaims(token) : undefined;
  if (claims === undefined) throw new CommandError({ code: "TOKEN_INVALID", title: "The given text is no JWT" });
  if (claims.expiresAtMs !== undefined && claims.expiresAtMs <= context.time.now())
    throw new CommandError({ code: "TOKEN_EXPIRED", title: `The given token expired at ${toLocalTime(claims.expiresAtMs)}` });
  return { idToken: token, expiresAtMs: claims.expiresAtMs, renewal: undefined };
}

async function readTokenFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw usageError(`The token file ${path} ${isSystemError(thrown, "ENOENT") ? "does not exist" : "cannot be read"}`);
  }
}

async function reportSignIn(context: CliContext, session: Session, format: OutputFormat): Promise<void> {
  const name = decodeTokenClaims(session.idToken)?.displayName ?? "an unnamed user";
  const until = session.expiresAtMs === undefined ? "" : ` until ${toLocalTime(session.expiresAtMs)}`;
  const renewed = session.renewal === undefined ? "" : ", renewed by itself";
  const check = paint("green", "✔", wantsColor(context.env, context.terminal.error));
  say(context, `${check} Signed in to ${describeKey(session.key)} as ${toPlainLine(name)}${until}${renewed}`);
  const { gateway, cluster } = session.key;
  if (cluster !== undefined) say(context, `  Next:  sallyport kubeconfig --cluster ${cluster}`);
  if (format === "table") return;
  const document = {
    gateway,
    cluster,
    user: name,
    expiresAt: session.expiresAtMs === undefined ? undefined : new Date(session.expiresAtMs).toISOString(),
  };
  print(context, await renderListing({ document, names: [name], columns: [], rows: [] }, format));
}

/** The moment in the time zone of this machine. */
function toLocalTime(timeMs: number): string {
  const pad = (value: number): string => String(value).padStart(2, "0");
  const date = new Date(timeMs);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}`;
}
