/**
 * Which cluster a command speaks to and as whom, found as kubectl finds it (client-go `tools/clientcmd`): the files of --kubeconfig,
 * KUBECONFIG or ~/.kube/config, where the first file that names something wins; the flags over them; the pod's ServiceAccount where there
 * is no kubeconfig; and http://localhost:8080 where there is nothing at all. A field that cannot be honoured is refused by name.
 */
import { readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { parseClusterName } from "#core/brand.ts";
import { GatewayError } from "#core/errors.ts";
import { isObject, listField, objectField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { UserInfo } from "#core/kube/user-info.ts";
import type { Environment } from "#cli/session/paths.ts";
import { absolutePath, readBearer, readClientCertificate, readServerTrust } from "#kubeconfig/entries.ts";
import type { ClientCertificate, KubeconfigBearer, KubeconfigEntry, ServerTrust } from "#kubeconfig/entries.ts";

/** kubectl's flags of the same names. */
export interface ClientFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly server?: string;
  readonly token?: string;
  readonly username?: string;
  readonly password?: string;
  readonly as?: string;
  readonly asUid?: string;
  readonly asGroup?: readonly string[];
  readonly asUserExtra?: readonly string[];
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly certificateAuthority?: string;
  readonly insecureSkipTlsVerify?: boolean;
  readonly tlsServerName?: string;
}

/** How the user proves who they are, beside a client certificate. */
export type ClientBearer = KubeconfigBearer | { readonly type: "basic"; readonly username: string; readonly password: string };

/** A cluster, and who the client is to it. */
export interface ClientConfig {
  /** http or https, perhaps with a path. */
  readonly server: URL;
  /** http, https or socks5. */
  readonly proxy: URL | undefined;
  readonly bearer: ClientBearer;
  /** The context's, or the pod's own; empty for none. */
  readonly namespace: string;
  /** Whom requests run as instead (`as`, `as-uid`, `as-groups`, `as-user-extra`). */
  readonly impersonation: UserInfo | undefined;
  /** Whether the server is a Sallyport gateway: the credential is its plugin's, or the URL is `https://<gateway>/k/<cluster>`. */
  readonly behindGateway: boolean;
  /** Reads the files of the entries as they are now; throws CONFIGURATION_INVALID. */
  readonly readTls: () => ServerTrust & ClientCertificate;
}

/** What the search depends on. */
export interface ClientConfigOptions {
  readonly flags: ClientFlags;
  readonly env: Environment;
  readonly homeDirectory: string;
  readonly workingDirectory: string;
  /** Where a pod's ServiceAccount is mounted. */
  readonly serviceAccountDirectory: string;
}

interface Kubeconfig {
  currentContext: string;
  readonly contexts: Map<string, KubeconfigEntry>;
  readonly clusters: Map<string, KubeconfigEntry>;
  readonly users: Map<string, KubeconfigEntry>;
}

const nothing: KubeconfigEntry = { fields: {}, directory: "/" };

/** Finds the cluster and the credential; rejects with CONFIGURATION_INVALID and all that is wrong. */
export async function loadClientConfig(options: ClientConfigOptions): Promise<ClientConfig> {
  const problems: string[] = [];
  const config = await loadFiles(options, problems);
  const isEmpty = config.contexts.size + config.clusters.size + config.users.size === 0 && config.currentContext === "";
  const inCluster = isEmpty && options.flags.server === undefined ? await podEntries(options) : undefined;
  const { cluster, user, namespace } = inCluster ?? chooseEntries(config, options.flags, problems);
  const result = readConfig(withClusterFlags(cluster, options), withUserFlags(user, options), problems);
  if (problems.length > 0 || result === undefined) throw new GatewayError("CONFIGURATION_INVALID", problems.join("\n"));
  return { ...result, namespace };
}

async function loadFiles({ flags, env, homeDirectory, workingDirectory }: ClientConfigOptions, problems: string[]): Promise<Kubeconfig> {
  const merged: Kubeconfig = { currentContext: "", contexts: new Map(), clusters: new Map(), users: new Map() };
  const listed = (env["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  const paths =
    flags.kubeconfig === undefined ? (listed.length > 0 ? listed : [join(homeDirectory, ".kube", "config")]) : [flags.kubeconfig];
  for (const path of paths.map((each) => absolutePath(each, workingDirectory))) {
    const fields = await loadFile(path, flags.kubeconfig !== undefined, problems);
    if (fields === undefined) continue;
    merged.currentContext ||= textField(fields, "current-context");
    addEntries(merged.contexts, fields, { list: "contexts", field: "context", path });
    addEntries(merged.clusters, fields, { list: "clusters", field: "cluster", path });
    addEntries(merged.users, fields, { list: "users", field: "user", path });
  }
  return merged;
}

async function loadFile(path: string, isRequired: boolean, problems: string[]): Promise<JsonObject | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (isRequired || !isMissing) problems.push(`${path}: ${isMissing ? "there is no such file" : "it cannot be read"}`);
    return undefined;
  }
  const { parse } = await import("yaml");
  try {
    const value: unknown = parse(text) ?? {};
    if (isObject(value)) return value;
    problems.push(`${path}: it is not a kubeconfig`);
  } catch {
    problems.push(`${path}: it cannot be read as YAML`); // YAMLParseError: its message quotes the text, which may be a secret
  }
  return undefined;
}

function addEntries(
  entries: Map<string, KubeconfigEntry>,
  config: JsonObject,
  { list, field, path }: { readonly list: string; readonly field: string; readonly path: string },
): void {
  for (const entry of listField(config, list).filter(isObject)) {
    const name = textField(entry, "name");
    if (!entries.has(name)) entries.set(name, { fields: objectField(entry, field), directory: dirname(path) });
  }
}

interface ChosenEntries {
  readonly cluster: KubeconfigEntry;
  readonly user: KubeconfigEntry;
  readonly namespace: string;
}

function chooseEntries(config: Kubeconfig, flags: ClientFlags, problems: string[]): ChosenEntries {
  const contextName = flags.context ?? config.currentContext;
  const context = named(config.contexts, "contexts", contextName, problems);
  const clusterName = flags.cluster ?? textField(context.fields, "cluster");
  const userName = flags.user ?? textField(context.fields, "user");
  return {
    cluster: named(config.clusters, "clusters", clusterName, problems),
    user: named(config.users, "users", userName, problems),
    namespace: textField(context.fields, "namespace"),
  };
}

function named(entries: ReadonlyMap<string, KubeconfigEntry>, list: string, name: string, problems: string[]): KubeconfigEntry {
  const entry = entries.get(name);
  if (entry === undefined && name !== "") problems.push(`the kubeconfig's ${list} has no entry ${JSON.stringify(name)}`);
  return entry ?? nothing;
}

/** The pod's ServiceAccount (client-go `rest.InClusterConfig`); undefined outside of a pod. */
async function podEntries({ env, serviceAccountDirectory }: ClientConfigOptions): Promise<ChosenEntries | undefined> {
  const [host, port] = [env["KUBERNETES_SERVICE_HOST"] ?? "", env["KUBERNETES_SERVICE_PORT"] ?? ""];
  const tokenFile = join(serviceAccountDirectory, "token");
  const hasToken = await readFile(tokenFile).then(
    () => true,
    () => false,
  );
  if (host === "" || port === "" || !hasToken) return undefined;
  const entry = { directory: serviceAccountDirectory };
  const namespace = await readFile(join(serviceAccountDirectory, "namespace"), "utf8").catch(() => ""); // ENOENT: a mount without it
  return {
    cluster: {
      ...entry,
      fields: { server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`, "certificate-authority": "ca.crt" },
    },
    user: { ...entry, fields: { tokenFile } },
    namespace: namespace.trim(),
  };
}

/** The flags over the cluster's fields, as client-go's `getCluster` lays them. */
function withClusterFlags({ fields, directory }: KubeconfigEntry, { flags, workingDirectory }: ClientConfigOptions): KubeconfigEntry {
  const changed: Record<string, unknown> = { ...fields };
  if (flags.server !== undefined) changed["server"] = flags.server;
  if (flags.server !== undefined || flags.tlsServerName !== undefined) changed["tls-server-name"] = flags.tlsServerName ?? "";
  if (flags.insecureSkipTlsVerify === true || flags.certificateAuthority !== undefined) {
    const authority = flags.certificateAuthority;
    changed["insecure-skip-tls-verify"] = flags.insecureSkipTlsVerify === true;
    changed["certificate-authority-data"] = "";
    changed["certificate-authority"] = authority === undefined ? "" : absolutePath(authority, workingDirectory);
  }
  return { fields: changed, directory };
}

/** The flags over the user's fields, as client-go's `getAuthInfo` lays them. */
function withUserFlags(user: KubeconfigEntry, { flags, workingDirectory }: ClientConfigOptions): KubeconfigEntry {
  const changed: Record<string, unknown> = { ...user.fields };
  for (const [name, path] of [
    ["client-certificate", flags.clientCertificate],
    ["client-key", flags.clientKey],
  ] as const) {
    if (path === undefined) continue;
    changed[name] = absolutePath(path, workingDirectory);
    changed[`${name}-data`] = "";
  }
  if (flags.token !== undefined) {
    changed["token"] = flags.token;
    for (const name of ["tokenFile", "username", "password"]) changed[name] = "";
    for (const name of ["exec", "auth-provider"]) changed[name] = undefined;
  }
  for (const [name, value] of [
    ["username", flags.username],
    ["password", flags.password],
    ["as", flags.as],
    ["as-uid", flags.asUid],
    ["as-groups", flags.asGroup],
  ] as const) {
    if (value !== undefined && value.length > 0) changed[name] = value;
  }
  if (flags.asUserExtra !== undefined && flags.asUserExtra.length > 0) changed["as-user-extra"] = parseExtra(flags.asUserExtra);
  return { ...user, fields: changed };
}

function parseExtra(pairs: readonly string[]): JsonObject {
  const extra: Record<string, string[]> = {};
  for (const pair of pairs) {
    const [, key, value] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
    if (key === undefined || value === undefined)
      throw new GatewayError("CONFIGURATION_INVALID", `--as-user-extra ${pair}: write it as KEY=VALUE`);
    (extra[key] ??= []).push(value);
  }
  return extra;
}

function readConfig(cluster: KubeconfigEntry, user: KubeconfigEntry, problems: string[]): Omit<ClientConfig, "namespace"> | undefined {
  const server = readServer(textField(cluster.fields, "server"), problems);
  const proxy = readProxy(textField(cluster.fields, "proxy-url"), problems);
  const isSecure = server?.protocol === "https:";
  const readTls = (): ServerTrust & ClientCertificate => {
    const faults: string[] = [];
    const certificate = isSecure ? readClientCertificate(user, faults) : { certificate: undefined, key: undefined };
    const tls = { ...readServerTrust(cluster, faults), ...certificate };
    if (faults.length > 0) throw new GatewayError("CONFIGURATION_INVALID", faults.join("\n"));
    return tls;
  };
  readServerTrust(cluster, problems);
  // Over plain HTTP, client-go reads no credential at all, so that none can be overheard; nor does this.
  if (isSecure) readClientCertificate(user, problems);
  const bearer = isSecure ? readClientBearer(user, cluster.fields, problems) : ({ type: "none" } as const);
  const impersonation = readImpersonation(user.fields, problems);
  if (server === undefined) return undefined;
  return { server, proxy, bearer, impersonation, behindGateway: isGateway(server, bearer), readTls };
}

/** As `sallyport kubeconfig` writes them (entry.ts). */
function isGateway(server: URL, bearer: ClientBearer): boolean {
  const [, cluster] = /^\/k\/([^/]+)\/?$/.exec(server.pathname) ?? [];
  if (cluster !== undefined && parseClusterName(cluster) !== undefined) return true;
  const args = bearer.type === "exec" ? bearer.plugin.args : [];
  const start = args.indexOf("credential");
  return start !== -1 && args[start + 1] === "--gateway" && args[start + 3] === "--cluster";
}

function readServer(text: string, problems: string[]): URL | undefined {
  // client-go takes a host without a scheme for a plain HTTP one.
  const url = URL.parse(text === "" ? "http://localhost:8080" : text.includes("://") ? text : `http://${text}`);
  if (url !== null && (url.protocol === "https:" || url.protocol === "http:") && url.username === "" && url.password === "") return url;
  problems.push("the cluster's server is not an http or https URL");
  return undefined;
}

function readProxy(text: string, problems: string[]): URL | undefined {
  const url = text === "" ? undefined : URL.parse(text);
  if (url === undefined || (url !== null && ["http:", "https:", "socks5:"].includes(url.protocol))) return url;
  problems.push("the cluster's proxy-url is not an http, https or socks5 URL");
  return undefined;
}

function readClientBearer(user: KubeconfigEntry, cluster: JsonObject, problems: string[]): ClientBearer {
  const bearer = readBearer(user, cluster, problems);
  const [username, password] = [textField(user.fields, "username"), textField(user.fields, "password")];
  const hasToken = bearer.type === "token" || bearer.type === "tokenFile";
  const provider = user.fields["auth-provider"];
  if (username !== "" || password !== "") {
    if (hasToken) problems.push("username/password or bearer token may be set, but not both");
    return { type: "basic", username, password };
  }
  if (!hasToken && isObject(provider)) {
    const name = JSON.stringify(textField(provider, "name"));
    problems.push(`the user's auth-provider ${name} is not supported; use an exec plugin, such as your cloud's or kubelogin`);
  }
  return bearer;
}

function readImpersonation(user: JsonObject, problems: string[]): UserInfo | undefined {
  const fields = objectField(user, "as-user-extra");
  const extra = Object.fromEntries(Object.keys(fields).map((key) => [key, textsField(fields, key)]));
  const identity = { username: textField(user, "as"), uid: textField(user, "as-uid"), groups: textsField(user, "as-groups"), extra };
  if (identity.username !== "") return identity;
  if (identity.uid !== "" || identity.groups.length > 0 || Object.keys(extra).length > 0)
    problems.push("requesting uid, groups or user-extra for a user without impersonating that user is not allowed: give --as");
  return undefined;
}
