/** A gateway with browser sign-in, a real issuer, and two clusters behind it, for all tests of a file. */
import { afterAll, beforeAll } from "vitest";
import { createAuthority } from "#cli/workerd/certificates.ts";
import type { Authority } from "#cli/workerd/certificates.ts";
import { Browser, formOf } from "./browser.ts";
import type { BrowserPage } from "./browser.ts";
import { findFreePort } from "./free-port.ts";
import { startOidcIssuer } from "./oidc-issuer.ts";
import type { OidcIssuer, OidcIssuerOptions } from "./oidc-issuer.ts";
import type { TestIssuer } from "./issuer.ts";
import { authenticationConfiguration, startGateway } from "./system.ts";
import type { ClusterFixture, GatewayFixture } from "./system.ts";
import { createSessionKeys } from "./session-keys.ts";
import { gatewayBundle } from "./worker-bundle.ts";

export interface SignInSystem {
  readonly gateway: GatewayFixture;
  readonly issuer: OidcIssuer;
  readonly authority: Authority;
  /** Opens a new browser and signs in with it; answers the page that comes last. */
  signIn(person: string, browser?: Browser): Promise<{ readonly browser: Browser; readonly page: BrowserPage }>;
  /** Presses the button of the sign-in page; answers the page that leads to the issuer. */
  begin(browser: Browser, path?: string): Promise<BrowserPage>;
}

export interface SignInSystemOptions {
  readonly issuer?: Partial<OidcIssuerOptions>;
  /** Variables of the gateway, which may name the issuer's URL and the gateway's own. */
  readonly variables?: (issuer: string, gateway: string) => Readonly<Record<string, string>>;
  readonly scopes?: readonly string[];
  /** The names of clusters; each is a client of its own. */
  readonly clusters?: readonly string[];
}

export function useSignInSystem(options: SignInSystemOptions = {}): SignInSystem {
  let running: SignInSystem | undefined;
  const system = (): SignInSystem => {
    if (running === undefined) throw new Error("the system has not started");
    return running;
  };
  beforeAll(async () => {
    running = await startSignInSystem(options);
  });
  afterAll(async () => {
    await system().gateway.stop();
    await system().issuer.stop();
  });
  return {
    get gateway() {
      return system().gateway;
    },
    get issuer() {
      return system().issuer;
    },
    get authority() {
      return system().authority;
    },
    signIn: (person, browser) => system().signIn(person, browser),
    begin: (browser, path) => system().begin(browser, path),
  };
}

export async function startSignInSystem(options: SignInSystemOptions = {}): Promise<SignInSystem> {
  const { clusters = ["one", "two"], scopes = ["openid"] } = options;
  const authority = await createAuthority("sallyport test", 86_400_000);
  const port = await findFreePort();
  const issuer = await startOidcIssuer({
    authority,
    gatewayUrl: `https://localhost:${port}`,
    clients: clusters.map((name) => ({ id: `cluster-${name}` })),
    claimsOf: () => ({ groups: ["developers"] }),
    ...options.issuer,
  });
  const gateway = await startGateway({
    bundle: gatewayBundle,
    port,
    authority,
    variables: { SESSION_KEYS: createSessionKeys(), ...options.variables?.(issuer.url, `https://localhost:${port}`) },
  });
  for (const name of clusters) await registerOidcCluster(gateway, issuer, name, scopes);
  const begin = async (browser: Browser, path = "/sign-in") => {
    const choice = await browser.visit(gateway.url + path);
    const { action, fields } = formOf(choice, new RegExp(`name="issuer"\\s+value="${issuer.url}"|name="cluster"\\s+value=`));
    return browser.visit(action, { form: fields });
  };
  return {
    gateway,
    issuer,
    authority,
    begin,
    signIn: async (person, browser = new Browser(authority.certificate)) => ({
      browser,
      page: await browser.follow(await begin(browser), person),
    }),
  };
}

/** Registers a cluster whose people sign in at a real issuer. */
export async function registerOidcCluster(
  gateway: GatewayFixture,
  issuer: { readonly url: string },
  name: string,
  scopes: readonly string[] = ["openid"],
): Promise<void> {
  const users = { url: issuer.url, keySet: { keys: [] }, token: () => Promise.reject(new Error("the issuer signs by itself")) };
  await gateway.register({ name, users, keys: "fetched", login: { issuer: issuer.url, clientId: `cluster-${name}`, scopes } });
}

/** Registers a cluster that also takes the gateway's own tokens; its agent gets the gateway's keys from the gateway itself. */
export async function registerTrustingCluster(system: SignInSystem, name: string): Promise<ClusterFixture> {
  const { gateway, issuer, authority } = system;
  const keySet: TestIssuer["keySet"] = JSON.parse((await new Browser(authority.certificate).visit(`${issuer.url}/jwks`)).text);
  return gateway.register({
    name,
    users: { url: issuer.url, keySet, token: () => Promise.reject(new Error("the issuer signs by itself")) },
    login: { issuer: issuer.url, clientId: `cluster-${name}`, scopes: ["openid"] },
    configuration: (url, audience) => trustingConfiguration(system, name, url, audience),
  });
}

/** People of an issuer, and the gateway's own tokens for the cluster's own audience. */
export function trustingConfiguration({ gateway, authority }: SignInSystem, name: string, url: string, audience: string): string {
  return `${authenticationConfiguration(url, audience, "oidc:")}- issuer:
    url: ${gateway.url}/issuer
    audiences: ["${name}.gateway"]
    certificateAuthority: ${JSON.stringify(authority.certificate)}
  claimMappings:
    username: { claim: sub, prefix: "" }
    groups: { claim: groups, prefix: "" }
`;
}
