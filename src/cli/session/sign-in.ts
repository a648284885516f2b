/** Which of the two login flows to use, and running it. */
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { toPlainLine } from "#cli/output/plain-text.ts";
import { signInByDevice } from "./device-login.ts";
import type { DevicePrompt } from "./device-login.ts";
import { discoverIssuer } from "./issuer.ts";
import type { Issuer, SignIn } from "./issuer.ts";
import { defaultRedirectUri, loginTimeoutMs, signInByLoopback } from "./loopback-login.ts";

/** What the person asked for; `automatic` looks at the machine and the issuer. */
export type FlowChoice = { readonly type: "device" } | { readonly type: "loopback" } | { readonly type: "automatic" };

export interface SignInRequest {
  readonly configuration: LoginConfiguration;
  readonly choice: FlowChoice;
  readonly redirectUri: string | undefined;
}

export async function signIn(context: CliContext, request: SignInRequest): Promise<SignIn> {
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(loginTimeoutMs)]);
  assertSomebodyIsThere(context, request.choice);
  const issuer = await discoverIssuer({ configuration: request.configuration, fetch: context.fetch, signal });
  const flow = chooseFlow(context, request.choice, issuer);
  switch (flow) {
    case "device":
      return signInByDevice({ issuer, time: context.time, show: (prompt) => showCode(context, prompt), signal });
    case "loopback":
      return signInByLoopback({
        issuer,
        redirectUri: request.redirectUri ?? defaultRedirectUri,
        signal,
        show: (url) => showAddress(context, url),
      });
  }
}

/** A loopback login needs this machine's screen; a code can be typed in anywhere. */
export function hasBrowser(context: Pick<CliContext, "env" | "platform">): boolean {
  const isSet = (name: string): boolean => (context.env[name] ?? "") !== "";
  if (isSet("SSH_CONNECTION") || isSet("SSH_TTY") || isSet("CI")) return false;
  return context.platform === "darwin" || context.platform === "win32" || isSet("DISPLAY") || isSet("WAYLAND_DISPLAY");
}

function assertSomebodyIsThere(context: CliContext, choice: FlowChoice): void {
  if (choice.type !== "automatic" || context.terminal.error) return;
  throw new CommandError({
    code: "NOT_SIGNED_IN",
    title: "Signing in needs a terminal",
    cause: "Nobody would see the code or the address.",
    next: ["sallyport login --token-file FILE", "sallyport login --device    (prints the code anyway)"],
  });
}

function chooseFlow(context: CliContext, choice: FlowChoice, issuer: Issuer): "device" | "loopback" {
  const hasDevice = issuer.server.device_authorization_endpoint !== undefined;
  const hasAuthorization = issuer.server.authorization_endpoint !== undefined;
  if (choice.type === "device" && !hasDevice)
    throw usageError(`The issuer ${issuer.server.issuer} offers no device login`, "Use --loopback.");
  if (choice.type !== "automatic") return choice.type;
  if (!hasDevice) return "loopback";
  return hasBrowser(context) && hasAuthorization ? "loopback" : "device";
}

function showCode(context: CliContext, prompt: DevicePrompt): void {
  const minutes = Math.max(1, Math.round(prompt.expiresInMs / 60_000));
  say(
    context,
    `  Open ${toPlainLine(prompt.verificationUri)}\n  and enter the code  ${toPlainLine(prompt.userCode)}   (valid for ${minutes} min)`,
  );
  if (prompt.completeUri !== undefined) say(context, `  or open ${toPlainLine(prompt.completeUri)}`);
}

function showAddress(context: CliContext, url: string): void {
  say(context, `  Opening the browser. If it stays closed, open this address on this machine:\n  ${toPlainLine(url)}`);
  context.openBrowser(url);
}
