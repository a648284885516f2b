/** An apiserver over HTTPS with an authority of its own, which answers from a script, and the kubeconfig that reaches it. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createAuthority } from "#cli/workerd/certificates.ts";
import type { ScriptedAnswer } from "./scripted-gateway.ts";

export interface ScriptedCluster {
  readonly url: string;
  /** PEM. */
  readonly authority: string;
  /** Answers by path; anything else is 404. */
  readonly answers: Map<string, ScriptedAnswer>;
  /** The authorization header of each request. */
  readonly authorizations: (string | undefined)[];
  readonly close: () => Promise<void>;
}

/** What a real apiserver serves as one type only, whatever else is asked for. */
const contentTypes: Readonly<Record<string, string>> = { "/openid/v1/jwks": "application/jwk-set+json" };
const dayMs = 24 * 60 * 60 * 1000;

export async function startCluster(): Promise<ScriptedCluster> {
  const authority = await createAuthority("scripted cluster", dayMs);
  const { certificate, key } = await authority.issue(["127.0.0.1", "localhost"]);
  const answers = new Map<string, ScriptedAnswer>();
  const authorizations: (string | undefined)[] = [];
  const server = createServer({ cert: certificate, key }, (request, response) => {
    authorizations.push(request.headers.authorization);
    const path = request.url?.split("?")[0] ?? "";
    const type = contentTypes[path] ?? "application/json";
    const wanted = request.headers.accept ?? "*/*";
    const isAccepted = wanted.includes(type) || wanted.includes("*/*");
    const answer = isAccepted ? (answers.get(path) ?? { status: 404, body: {} }) : { status: 406, body: {} };
    response.writeHead(answer.status, { "content-type": type });
    response.end(JSON.stringify(answer.body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP listener
    authority: authority.certificate,
    answers,
    authorizations,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Writes a kubeconfig whose context "admin" reaches the cluster with the token `admin-token`. */
export async function writeKubeconfig(path: string, cluster: ScriptedCluster): Promise<void> {
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "c", cluster: { server: cluster.url, "certificate-authority-data": Buffer.from(cluster.authority).toString("base64") } },
    ],
    users: [{ name: "u", user: { token: "admin-token" } }],
    contexts: [{ name: "admin", context: { cluster: "c", user: "u" } }],
    "current-context": "admin",
  };
  await writeFile(path, JSON.stringify(config));
}
