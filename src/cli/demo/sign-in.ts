/** Signs a person in at the demo's issuer as a browser would: authorization code with PKCE (RFC 7636), filling in the issuer's own forms. */
import { createHash, randomBytes } from "node:crypto";

/** Where the issuer sends the code; nothing needs to listen there, because the answer's address is read and not followed. */
const redirectUri = "http://127.0.0.1/callback";

/** Pages that one sign-in may take: sign-in form, consent form, and the redirects between. */
const maxSteps = 20;

/** An ID token for `person` as the client `clientId`. @throws Error when the issuer does not give one */
export async function signIn(issuer: string, clientId: string, person: string): Promise<string> {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: "code",
    scope: "openid",
    redirect_uri: redirectUri,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    nonce: randomBytes(16).toString("base64url"),
  });
  const code = await authorize(new URL(`${issuer}/auth?${query.toString()}`), person);
  const body = new URLSearchParams({
    grant_type: "authorization_code",
    client_id: clientId,
    code,
    redirect_uri: redirectUri,
    code_verifier: verifier,
  });
  const response = await fetch(`${issuer}/token`, { method: "POST", body });
  const answer = (await response.json()) as { readonly id_token?: string }; // OpenID Connect Core 1.0 section 3.1.3.3
  if (answer.id_token === undefined) throw new Error(`the issuer gave no ID token (status ${response.status})`);
  return answer.id_token;
}

async function authorize(start: URL, person: string): Promise<string> {
  const cookies = new Map<string, string>();
  let next: { readonly url: URL; readonly form: URLSearchParams | undefined } = { url: start, form: undefined };
  for (let step = 0; step < maxSteps; step++) {
    const { url, form } = next;
    const response = await fetch(url, {
      redirect: "manual",
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") },
      ...(form !== undefined && { method: "POST", body: form }),
    });
    for (const line of response.headers.getSetCookie()) keepCookie(line, cookies);
    const location = response.headers.get("location");
    const page = await response.text();
    if (location !== null) {
      const target = new URL(location, url);
      const code = target.href.startsWith(redirectUri) ? target.searchParams.get("code") : null;
      if (code !== null) return code;
      next = { url: target, form: undefined };
    } else next = readForm(page, url, person);
  }
  throw new Error("the issuer's sign-in did not come to an end");
}

function keepCookie(line: string, cookies: Map<string, string>): void {
  const [pair = ""] = line.split(";");
  const equals = pair.indexOf("=");
  const value = pair.slice(equals + 1);
  if (value === "") cookies.delete(pair.slice(0, equals));
  else cookies.set(pair.slice(0, equals), value);
}

function readForm(page: string, url: URL, person: string): { readonly url: URL; readonly form: URLSearchParams } {
  const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1];
  if (action === undefined) throw new Error("the issuer showed a page without a form");
  const form = new URLSearchParams();
  for (const [tag] of page.matchAll(/<input[^>]*>/g)) {
    const name = /name="([^"]+)"/.exec(tag)?.[1];
    if (name !== undefined) form.set(name, /value="([^"]*)"/.exec(tag)?.[1] ?? "");
  }
  if (form.has("login")) {
    form.set("login", person);
    form.set("password", "demo");
  }
  return { url: new URL(action, url), form };
}
