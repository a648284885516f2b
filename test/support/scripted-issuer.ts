/** An issuer that says what a test wants: discovery and keys are real, its token endpoint answers by script. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { JWTPayload } from "jose";
import type { Authority } from "#cli/workerd/certificates.ts";
import { createTestIssuer } from "./issuer.ts";
import type { TestIssuer } from "./issuer.ts";

export interface ScriptedIssuer {
  readonly url: string;
  readonly users: TestIssuer;
  /** Forms that came to the token endpoint, and their Authorization. */
  readonly asked: { readonly form: URLSearchParams; readonly authorization: string | undefined }[];
  /** Answers the next requests for tokens. */
  onToken: (form: URLSearchParams) => Promise<object> | object;
  /** Changes what discovery says. */
  metadata: Readonly<Record<string, unknown>>;
  stop(): Promise<void>;
}

export async function startScriptedIssuer(authority: Authority): Promise<ScriptedIssuer> {
  const { certificate, key } = await authority.issue(["localhost", "127.0.0.1"]);
  const server = createServer({ cert: certificate, key });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `https://localhost:${(server.address() as AddressInfo).port}`; // a TCP listener
  const issuer: ScriptedIssuer = {
    url,
    users: await createTestIssuer(url),
    asked: [],
    onToken: () => ({ error: "invalid_grant" }),
    metadata: {},
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on("request", async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const answer = await answerOf(issuer, request.url ?? "", Buffer.concat(parts).toString("utf8"), request.headers.authorization);
    response.writeHead("error" in answer ? 400 : 200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  return issuer;
}

/** What a good token endpoint answers. */
export async function tokenAnswer(issuer: ScriptedIssuer, claims: JWTPayload, lifetimeSeconds = 600): Promise<object> {
  return {
    access_token: "access",
    token_type: "Bearer",
    refresh_token: "refresh",
    id_token: await issuer.users.token(claims, lifetimeSeconds),
  };
}

async function answerOf(issuer: ScriptedIssuer, path: string, body: string, authorization: string | undefined): Promise<object> {
  const { url } = issuer;
  if (path === "/jwks") return issuer.users.keySet;
  if (path === "/token") {
    const form = new URLSearchParams(body);
    issuer.asked.push({ form, authorization });
    return issuer.onToken(form);
  }
  return {
    issuer: url,
    authorization_endpoint: `${url}/auth`,
    token_endpoint: `${url}/token`,
    jwks_uri: `${url}/jwks`,
    response_types_supported: ["code"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["ES256"],
    authorization_response_iss_parameter_supported: true,
    ...issuer.metadata,
  };
}
