/**
 * The gateway's own HTTP API under /gateway/v1: the documents that the command line and the Worker exchange, and the parsers
 * both sides read them with. Each parser is total: it answers the value or every problem it found, and never throws.
 * Failures of this API are metav1.Status documents whose `details.causes[0].reason` is a code of the error table.
 */
import { parseClusterName } from "./brand.ts";
import type { ClusterName } from "./brand.ts";
import { field, finish, readArray, readCount, readObject, readText } from "./document.ts";
import type { Parsed } from "./document.ts";
import { isObject } from "./json-fields.ts";
import { errorTable } from "./errors.ts";
import type { ErrorCode } from "./errors.ts";

/** Where everything below starts, on the gateway's own host. */
export const gatewayApiPath = "/gateway/v1";

/** How a person signs in: which OpenID Connect issuer, as which public client, with which scopes (OpenID Connect Core 1.0). */
export interface LoginConfiguration {
  readonly issuer: string;
  readonly clientId: string;
  readonly scopes: readonly string[];
}

/** One agent replica as the gateway sees it now. */
export interface AgentState {
  /** The pod's UID, which tells replicas of one cluster apart. */
  readonly replica: string;
  readonly version: string;
  /** RFC 3339. */
  readonly connectedAt: string;
  /** Open WebSocket lanes. */
  readonly lanes: number;
  readonly node?: string;
  /** Each role's state as the agent reported it. */
  readonly roles: Readonly<Record<string, unknown>>;
  readonly lastError?: string;
}

/** One registered cluster. */
export interface ClusterSummary {
  readonly name: ClusterName;
  /** The URL that a kubeconfig uses for it. */
  readonly url: string;
  readonly agents: readonly AgentState[];
  /** RFC 3339. */
  readonly createdAt: string;
}

/** A JSON Web Key Set (RFC 7517 section 5) of public keys only. */
export interface PublicKeySet {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
}

/** How the cluster's agents prove themselves: by ServiceAccount tokens of this issuer, for this audience and subject. */
export interface JoinTrust {
  readonly issuer: string;
  readonly jwks: PublicKeySet;
  readonly audience: string;
  readonly subject: string;
}

/** What `cluster add` sends. */
export interface ClusterRegistration {
  readonly name: ClusterName;
  /** The text of the cluster's AuthenticationConfiguration (apiserver.config.k8s.io/v1). */
  readonly authenticationConfiguration: string;
  /** Keys of issuers that the gateway cannot fetch from, by issuer URL; for this cluster only. */
  readonly issuerKeys: Readonly<Record<string, PublicKeySet>>;
  readonly join: JoinTrust;
  readonly login?: LoginConfiguration;
  /** Whether an audience that another cluster also accepts is let through. */
  readonly allowSharedAudience: boolean;
}

/** A failure that the gateway answered with. */
export interface GatewayFailure {
  readonly code: ErrorCode;
  readonly message: string;
  /** Every cause's message; for a refused configuration, one for each problem. */
  readonly causes: readonly string[];
}

/** The longest AuthenticationConfiguration taken: the agent reads it from a ConfigMap, which holds at most 1 MiB. */
export const maxConfigurationCharacters = 1024 * 1024;

/** Keys in one set; real issuers publish fewer than ten. */
export const maxKeysInSet = 100;

export function parseLoginConfiguration(input: unknown): Parsed<LoginConfiguration> {
  return finish((problems) => readLogin(input, "", problems));
}

export function parseClusterSummary(input: unknown): Parsed<ClusterSummary> {
  return finish((problems) => readSummary(input, "", problems));
}

/** Parses the answer of `GET /gateway/v1/clusters`. */
export function parseClusterList(input: unknown): Parsed<readonly ClusterSummary[]> {
  return finish((problems) => {
    const list = field(readObject(input, "", problems), "clusters");
    return readArray(list, "clusters", problems).map((item, index) => readSummary(item, `clusters[${index}].`, problems));
  });
}

/** Parses the body of `POST /gateway/v1/clusters`. */
export function parseClusterRegistration(input: unknown): Parsed<ClusterRegistration> {
  return finish((problems) => {
    const body = readObject(input, "", problems);
    const login = field(body, "login");
    const configuration = field(body, "authenticationConfiguration");
    if (typeof configuration !== "string" || configuration.length > maxConfigurationCharacters)
      problems.push(`authenticationConfiguration must be text of at most ${maxConfigurationCharacters} characters`);
    const shared = field(body, "allowSharedAudience");
    if (typeof shared !== "boolean") problems.push("allowSharedAudience must be true or false");
    return {
      name: readName(field(body, "name"), "name", problems),
      authenticationConfiguration: typeof configuration === "string" ? configuration : "",
      issuerKeys: readIssuerKeys(field(body, "issuerKeys"), problems),
      join: readJoin(field(body, "join"), problems),
      ...(login === undefined ? {} : { login: readLogin(login, "login.", problems) }),
      allowSharedAudience: shared === true,
    };
  });
}

/** Parses key sets by issuer URL. */
export function parseIssuerKeySets(input: unknown): Parsed<Readonly<Record<string, PublicKeySet>>> {
  return finish((problems) => readIssuerKeys(input, problems));
}

/** Parses a key set, and refuses one that holds a private or symmetric key, which must never leave its owner. */
export function parsePublicKeySet(input: unknown): Parsed<PublicKeySet> {
  return finish((problems) => readKeySet(input, "", problems));
}

/** Reads the failure out of a metav1.Status; undefined when the document is none of ours. */
export function parseGatewayFailure(input: unknown): GatewayFailure | undefined {
  if (!isObject(input) || input["kind"] !== "Status") return undefined;
  const details = input["details"];
  const causes: unknown = isObject(details) ? details["causes"] : undefined;
  if (!Array.isArray(causes)) return undefined;
  const code = textOf(causes[0], "reason");
  if (code === undefined || !isErrorCode(code)) return undefined;
  const messages = causes.map((cause: unknown) => textOf(cause, "message")).filter((text) => text !== undefined);
  const message = messages[0] ?? textOf(input, "message") ?? code;
  return { code, message, causes: messages };
}

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorTable, text);
}

function readLogin(input: unknown, at: string, problems: string[]): LoginConfiguration {
  const login = readObject(input, at, problems);
  return {
    issuer: readUrl(field(login, "issuer"), `${at}issuer`, problems),
    clientId: readText(field(login, "clientId"), `${at}clientId`, problems),
    scopes: readArray(field(login, "scopes"), `${at}scopes`, problems).map((scope, index) =>
      readText(scope, `${at}scopes[${index}]`, problems),
    ),
  };
}

function readSummary(input: unknown, at: string, problems: string[]): ClusterSummary {
  const summary = readObject(input, at, problems);
  return {
    name: readName(field(summary, "name"), `${at}name`, problems),
    url: readUrl(field(summary, "url"), `${at}url`, problems),
    agents: readArray(field(summary, "agents"), `${at}agents`, problems).map((agent, index) =>
      readAgent(agent, `${at}agents[${index}].`, problems),
    ),
    createdAt: readText(field(summary, "createdAt"), `${at}createdAt`, problems),
  };
}

function readAgent(input: unknown, at: string, problems: string[]): AgentState {
  const agent = readObject(input, at, problems);
  const node = field(agent, "node");
  const lastError = field(agent, "lastError");
  return {
    replica: readText(field(agent, "replica"), `${at}replica`, problems),
    version: readText(field(agent, "version"), `${at}version`, problems),
    connectedAt: readText(field(agent, "connectedAt"), `${at}connectedAt`, problems),
    lanes: readCount(field(agent, "lanes"), `${at}lanes`, problems),
    roles: readObject(field(agent, "roles") ?? {}, `${at}roles`, problems),
    ...(node === undefined ? {} : { node: readText(node, `${at}node`, problems) }),
    ...(lastError === undefined ? {} : { lastError: readText(lastError, `${at}lastError`, problems) }),
  };
}

function readIssuerKeys(input: unknown, problems: string[]): Readonly<Record<string, PublicKeySet>> {
  const entries = Object.entries(readObject(input, "issuerKeys", problems));
  return Object.fromEntries(
    entries.map(([issuer, keys]) => [
      readUrl(issuer, `issuerKeys["${issuer}"]`, problems),
      readKeySet(keys, `issuerKeys["${issuer}"].`, problems),
    ]),
  );
}

function readJoin(input: unknown, problems: string[]): JoinTrust {
  const join = readObject(input, "join.", problems);
  return {
    issuer: readUrl(field(join, "issuer"), "join.issuer", problems),
    jwks: readKeySet(field(join, "jwks"), "join.jwks.", problems),
    audience: readText(field(join, "audience"), "join.audience", problems),
    subject: readText(field(join, "subject"), "join.subject", problems),
  };
}

function readKeySet(input: unknown, at: string, problems: string[]): PublicKeySet {
  const keys = readArray(field(readObject(input, at, problems), "keys"), `${at}keys`, problems);
  if (keys.length === 0) problems.push(`${at}keys holds no key`);
  if (keys.length > maxKeysInSet) problems.push(`${at}keys holds more than ${maxKeysInSet} keys`);
  return {
    keys: keys.slice(0, maxKeysInSet).map((item, index) => {
      const key = readObject(item, `${at}keys[${index}]`, problems);
      if (Object.hasOwn(key, "d") || Object.hasOwn(key, "k"))
        problems.push(`${at}keys[${index}] is a private or symmetric key; give public keys only`);
      return key;
    }),
  };
}

function readName(input: unknown, at: string, problems: string[]): ClusterName {
  const name = typeof input === "string" ? parseClusterName(input) : undefined;
  if (name === undefined) problems.push(`${at} must be a DNS label: at most 63 of a-z, 0-9 and "-"`);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- never leaves: a problem was noted, so the document is refused
  return name ?? ("" as ClusterName);
}

function readUrl(input: unknown, at: string, problems: string[]): string {
  const text = readText(input, at, problems);
  if (text !== "" && !(URL.canParse(text) && /^https?:$/.test(new URL(text).protocol))) problems.push(`${at} must be an http or https URL`);
  return text;
}

function textOf(input: unknown, name: string): string | undefined {
  const value = isObject(input) ? input[name] : undefined;
  return typeof value === "string" ? value : undefined;
}
