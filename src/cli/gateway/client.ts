/** The gateway's own HTTP API, from the command line's side. */
import { gatewayApiPath, parseClusterList, parseClusterSummary, parseGatewayFailure, parseLoginConfiguration } from "#core/gateway-api.ts";
import type { Parsed } from "#core/document.ts";
import type { ClusterRegistration, ClusterSummary, GatewayFailure, LoginConfiguration } from "#core/gateway-api.ts";
import { CommandError } from "#cli/output/failure.ts";
import type { Failure } from "#cli/output/failure.ts";
import { networkDetail, readBoundedText } from "#cli/session/bounded-fetch.ts";
import type { Fetch } from "#cli/session/bounded-fetch.ts";
import { parseJson } from "#cli/session/private-file.ts";

export interface GatewayClient {
  /** The gateway's origin. */
  readonly gateway: string;
  /** Undefined for the public parts. */
  readonly token: string | undefined;
  readonly fetch: Fetch;
}

/** A gateway answers from its own store; a registration with a slow issuer's discovery takes longest. */
const requestTimeoutMs = 30_000;

/** A thousand clusters with two agents each take about 1 MB. */
const maxAnswerBytes = 16 * 1024 * 1024;

/** How to sign in at the gateway, or at one of its clusters; undefined when it has no login (404). */
export async function readLoginConfiguration(client: GatewayClient, cluster: string | undefined): Promise<LoginConfiguration | undefined> {
  const path = cluster === undefined ? "/login" : `/clusters/${encodeURIComponent(cluster)}/login`;
  const answer = await request(client, { method: "GET", path });
  if (answer.status === 404 && answer.failure?.code !== "CLUSTER_UNKNOWN") return undefined;
  return readDocument(client, answer, parseLoginConfiguration);
}

export async function listClusters(client: GatewayClient): Promise<readonly ClusterSummary[]> {
  return readDocument(client, await request(client, { method: "GET", path: "/clusters" }), parseClusterList);
}

export async function getCluster(client: GatewayClient, name: string): Promise<ClusterSummary> {
  return readDocument(client, await request(client, { method: "GET", path: `/clusters/${encodeURIComponent(name)}` }), parseClusterSummary);
}

export async function addCluster(client: GatewayClient, registration: ClusterRegistration): Promise<ClusterSummary> {
  return readDocument(client, await request(client, { method: "POST", path: "/clusters", body: registration }), parseClusterSummary);
}

export async function removeCluster(client: GatewayClient, name: string): Promise<void> {
  const answer = await request(client, { method: "DELETE", path: `/clusters/${encodeURIComponent(name)}` });
  if (answer.status < 200 || answer.status > 299) throw refusal(client, answer);
}

interface Request {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly failure: GatewayFailure | undefined;
  readonly reference: string | undefined;
}

async function request(client: GatewayClient, { method, path, body }: Request): Promise<Answer> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (client.token !== undefined) headers["authorization"] = `Bearer ${client.token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    const response = await client.fetch(`${client.gateway}${gatewayApiPath}${path}`, {
      method,
      headers,
      redirect: "manual",
      signal: AbortSignal.timeout(requestTimeoutMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const parsed = parseJson(await readBoundedText(response, maxAnswerBytes));
    return {
      status: response.status,
      body: parsed,
      failure: parseGatewayFailure(parsed),
      reference: response.headers.get("audit-id") ?? undefined,
    };
  } catch (thrown) {
    throw new CommandError(
      {
        code: "GATEWAY_UNREACHABLE",
        title: `Can't reach the gateway ${client.gateway}`,
        ...whyUnreachable(networkDetail(thrown)),
      },
      { cause: thrown },
    );
  }
}

/** Codes of OpenSSL's verification for a chain that ends in no authority of this machine (X509_V_ERR_…). */
const untrusted: ReadonlySet<string> = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
]);

function whyUnreachable(detail: string): Pick<Failure, "cause" | "next"> {
  if (!untrusted.has(detail)) return { cause: detail };
  return {
    cause: `Its certificate is of no authority that this machine trusts (${detail}).`,
    next: ["Ask the gateway's admin for the authority's certificate, and give it with --gateway-ca FILE.", "sallyport doctor"],
  };
}

function readDocument<Value>(client: GatewayClient, answer: Answer, parse: (input: unknown) => Parsed<Value>): Value {
  if (answer.status < 200 || answer.status > 299) throw refusal(client, answer);
  const parsed = parse(answer.body);
  if (parsed.type === "parsed") return parsed.value;
  throw notGateway(client, parsed.problems.slice(0, 5).join("\n"));
}

function refusal(client: GatewayClient, answer: Answer): CommandError {
  const { failure, reference } = answer;
  if (failure === undefined) return notGateway(client, `It answered with HTTP status ${answer.status}.`);
  const isList = failure.causes.length > 1;
  return new CommandError({
    code: failure.code,
    title: isList ? `The gateway refused the request for ${failure.causes.length} reasons` : failure.message,
    ...(isList ? { cause: failure.causes.join("\n") } : {}),
    ...(reference === undefined ? {} : { reference }),
  });
}

function notGateway(client: GatewayClient, cause: string): CommandError {
  return new CommandError({
    code: "GATEWAY_UNREACHABLE",
    title: `${client.gateway} does not answer as a Sallyport gateway`,
    cause,
    next: ["Check the URL; something in between (a login page, a proxy) may have answered.", "sallyport doctor"],
  });
}
