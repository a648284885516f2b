/**
 * The entries of a kubeconfig (client-go's v1 Config) that say who a client is and whom it trusts.
 *
 * The agent and the command line read them alike; which other fields each honours or refuses is theirs to say. Everything wrong is
 * added to a list of problems, so that a person sees all at once.
 */
import { readFileSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { isObject, listField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ExecPlugin } from "./exec-plugin.ts";

/** An entry's fields, and the directory that its relative paths start from. */
export interface KubeconfigEntry {
  readonly fields: JsonObject;
  readonly directory: string;
}

/** How a user proves who they are, beside a client certificate. */
export type KubeconfigBearer =
  | { readonly type: "none" }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "tokenFile"; readonly path: string }
  | { readonly type: "exec"; readonly plugin: ExecPlugin };

/** Whom a client trusts as the server. */
export interface ServerTrust {
  /** PEM. */
  readonly ca: string | undefined;
  readonly serverName: string | undefined;
  readonly insecure: boolean;
}

/** A client certificate and its key, PEM; both or neither. */
export interface ClientCertificate {
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

/** Where problems go. */
export type Problems = string[];

const execVersions: ReadonlySet<string> = new Set(["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]);

/** How the cluster's servers are verified. */
export function readServerTrust(cluster: KubeconfigEntry, problems: Problems): ServerTrust {
  const insecure = cluster.fields["insecure-skip-tls-verify"] === true;
  const ca = readPem(cluster, "certificate-authority", problems);
  if (insecure && ca !== undefined) problems.push("insecure-skip-tls-verify and certificate-authority exclude each other");
  return { ca, serverName: textField(cluster.fields, "tls-server-name") || undefined, insecure };
}

export function readClientCertificate(user: KubeconfigEntry, problems: Problems): ClientCertificate {
  const certificate = readPem(user, "client-certificate", problems);
  const key = readPem(user, "client-key", problems);
  if ((certificate === undefined) !== (key === undefined)) problems.push("client-certificate and client-key need each other");
  return { certificate, key };
}

/** As client-go: tokenFile before token; exec only where neither is. */
export function readBearer(user: KubeconfigEntry, cluster: JsonObject, problems: Problems): KubeconfigBearer {
  const tokenFile = textField(user.fields, "tokenFile");
  const token = textField(user.fields, "token");
  const exec = user.fields["exec"];
  if (tokenFile !== "") return { type: "tokenFile", path: absolutePath(tokenFile, user.directory) };
  if (token !== "") return { type: "token", token };
  if (isObject(exec)) return { type: "exec", plugin: readExec({ fields: exec, directory: user.directory }, cluster, problems) };
  return { type: "none" };
}

export function absolutePath(path: string, directory: string): string {
  return isAbsolute(path) ? path : resolve(directory, path);
}

function readExec({ fields, directory }: KubeconfigEntry, cluster: JsonObject, problems: Problems): ExecPlugin {
  const apiVersion = textField(fields, "apiVersion");
  const command = textField(fields, "command");
  if (!execVersions.has(apiVersion)) problems.push(`exec.apiVersion is none of ${[...execVersions].join(", ")}`);
  if (command === "") problems.push("exec.command is missing");
  const env = listField(fields, "env").filter(isObject);
  return {
    apiVersion,
    command: command.includes("/") ? absolutePath(command, directory) : command,
    args: textsField(fields, "args"),
    env: Object.fromEntries(env.map((entry) => [textField(entry, "name"), textField(entry, "value")])),
    cluster: fields["provideClusterInfo"] === true ? execCluster(cluster) : undefined,
    interactiveMode: textField(fields, "interactiveMode"),
    installHint: textField(fields, "installHint"),
  };
}

/** PEM from `<field>-data`, or from the file that `<field>` names. */
function readPem({ fields, directory }: KubeconfigEntry, field: string, problems: Problems): string | undefined {
  const data = textField(fields, `${field}-data`);
  const path = textField(fields, field);
  if (data !== "") return checkPem(field, Buffer.from(data, "base64").toString("latin1"), problems);
  if (path === "") return undefined;
  try {
    return checkPem(field, readFileSync(absolutePath(path, directory), "latin1"), problems);
  } catch {
    problems.push(`${field}: ${path} cannot be read`); // ENOENT, EACCES, EISDIR
    return undefined;
  }
}

function checkPem(field: string, text: string, problems: Problems): string {
  if (!text.includes("-----BEGIN ")) problems.push(`${field} is not PEM`);
  return text;
}

/** The Cluster of an ExecCredential's spec. */
function execCluster(cluster: JsonObject): JsonObject {
  const names = ["server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url", "disable-compression"];
  return Object.fromEntries(names.filter((name) => cluster[name] !== undefined).map((name) => [name, cluster[name]]));
}
