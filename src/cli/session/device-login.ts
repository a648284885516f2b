/** Signing in with a code that is typed in on any device (RFC 8628): for SSH, containers and machines without a browser. */
import * as oauth from "oauth4webapi";
import { CommandError } from "#cli/output/failure.ts";
import type { Time } from "./file-lock.ts";
import { atIssuer, toSignIn } from "./issuer.ts";
import type { Issuer, SignIn } from "./issuer.ts";

/** What the person needs to see. */
export interface DevicePrompt {
  readonly verificationUri: string;
  readonly userCode: string;
  /** The address with the code in it. */
  readonly completeUri: string | undefined;
  readonly expiresInMs: number;
}

export interface DeviceLogin {
  readonly issuer: Issuer;
  readonly show: (prompt: DevicePrompt) => void;
  readonly time: Time;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/** RFC 8628 section 3.2: what to wait between polls when the issuer does not say, and what `slow_down` adds. */
const defaultIntervalMs = 5000;
const slowDownMs = 5000;

export async function signInByDevice({ issuer, show, time, signal }: DeviceLogin): Promise<SignIn> {
  const { server, client, options } = issuer;
  const device = await atIssuer(server.issuer, async () => {
    const response = await oauth.deviceAuthorizationRequest(server, client, oauth.None(), deviceParameters(issuer), options);
    return oauth.processDeviceAuthorizationResponse(server, client, response);
  });
  const expiresInMs = device.expires_in * 1000;
  const deadline = time.now() + expiresInMs;
  show({
    verificationUri: device.verification_uri,
    userCode: device.user_code,
    completeUri: device.verification_uri_complete,
    expiresInMs,
  });
  let intervalMs = device.interval === undefined ? defaultIntervalMs : device.interval * 1000;
  while (time.now() < deadline && !signal.aborted) {
    await time.wait(intervalMs);
    const poll = await atIssuer(server.issuer, () => pollOnce(issuer, device.device_code));
    if (poll.type === "signed-in") return poll.signIn;
    intervalMs += poll.addMs;
  }
  throw new CommandError({ code: "LOGIN_FAILED", title: "The code expired before anybody signed in" });
}

function deviceParameters(issuer: Issuer): URLSearchParams {
  return new URLSearchParams({ scope: issuer.scope });
}

type Poll = { readonly type: "signed-in"; readonly signIn: SignIn } | { readonly type: "pending"; readonly addMs: number };

async function pollOnce(issuer: Issuer, deviceCode: string): Promise<Poll> {
  const { server, client, options } = issuer;
  try {
    const response = await oauth.deviceCodeGrantRequest(server, client, oauth.None(), deviceCode, options);
    if (response.status >= 500) return { type: "pending", addMs: slowDownMs };
    return { type: "signed-in", signIn: toSignIn(issuer, await oauth.processDeviceCodeResponse(server, client, response)) };
  } catch (thrown) {
    if (!(thrown instanceof oauth.ResponseBodyError)) throw thrown;
    if (thrown.error === "authorization_pending") return { type: "pending", addMs: 0 };
    if (thrown.error === "slow_down") return { type: "pending", addMs: slowDownMs };
    throw thrown;
  }
}
