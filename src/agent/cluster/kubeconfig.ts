/**
 * A kubeconfig (client-go's v1 Config), for an agent outside its cluster. Everything that the file says about the chosen context is
 * honoured or refused by name: an agent that silently left out a line would connect as somebody else, or to something else.
 */
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { parse } from "yaml";
import { GatewayError } from "#core/errors.ts";
import { isObject, listField, objectField, textField, textsField } from "./api.ts";
import type { JsonObject } from "./api.ts";
import type { ExecPlugin } from "./exec-plugin.ts";

/** How the user of the context proves who they are, beside a client certificate. */
export type KubeconfigBearer =
  | { readonly type: "none" }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "tokenFile"; readonly path: string }
  | { readonly type: "exec"; readonly plugin: ExecPlugin };

/** One context of a kubeconfig, with the files that it names read. */
export interface KubeconfigContext {
  readonly server: string;
  readonly ca: string | undefined;
  readonly serverName: string | undefined;
  readonly insecure: boolean;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly bearer: KubeconfigBearer;
}

const execVersions: ReadonlySet<string> = new Set(["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]);

/** Reads a file's context, or its current one; throws CONFIGURATION_INVALID with all problems at once. */
export function readKubeconfig(path: string, context: string | undefined): KubeconfigContext {
  const reader = new Reader(path);
  const result = reader.read(context);
  if (result === undefined || reader.problems.length > 0) {
    throw new GatewayError("CONFIGURATION_INVALID", reader.problems.map((problem) => `${path}: ${problem}`).join("\n"));
  }
  return result;
}

class Reader {
  readonly problems: string[] = [];
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(wanted: string | undefined): KubeconfigContext | undefined {
    const config = this.#load();
    if (config === undefined) return undefined;
    const name = wanted ?? textField(config, "current-context");
    if (name === "") {
      this.problems.push("it has no current-context; name one with --context");
      return undefined;
    }
    const context = this.#named(config, "contexts", "context", name);
    if (context === undefined) return undefined;
    const cluster = this.#named(config, "clusters", "cluster", textField(context, "cluster"));
    const userName = textField(context, "user");
    const user = userName === "" ? {} : this.#named(config, "users", "user", userName);
    if (cluster === undefined || user === undefined) return undefined;
    return { ...this.#readCluster(cluster), ...this.#readUser(user, cluster) };
  }

  #load(): JsonObject | undefined {
    let value: unknown;
    try {
      value = parse(readFileSync(this.#path, "utf8"));
    } catch (error) {
      const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
      this.problems.push(missing ? "there is no such file" : "it cannot be read as YAML");
      return undefined;
    }
    if (isObject(value)) return value;
    this.problems.push("it is not a kubeconfig");
    return undefined;
  }

  #named(config: JsonObject, list: string, field: string, name: string): JsonObject | undefined {
    const entry = listField(config, list)
      .filter(isObject)
      .find((candidate) => textField(candidate, "name") === name);
    if (entry !== undefined) return objectField(entry, field);
    this.problems.push(`${list} has no entry ${JSON.stringify(name)}`);
    return undefined;
  }

  #readCluster(cluster: JsonObject): Pick<KubeconfigContext, "server" | "ca" | "serverName" | "insecure"> {
    const server = textField(cluster, "server").replace(/\/+$/, "");
    if (!isServerUrl(server)) this.problems.push("server is not an http or https URL without a path");
    if (textField(cluster, "proxy-url") !== "") this.problems.push("proxy-url is not supported: the agent dials the apiserver itself");
    const insecure = cluster["insecure-skip-tls-verify"] === true;
    const ca = this.#pem(cluster, "certificate-authority");
    if (insecure && ca !== undefined) this.problems.push("insecure-skip-tls-verify and certificate-authority exclude each other");
    return { server, ca, serverName: textField(cluster, "tls-server-name") || undefined, insecure };
  }

  #readUser(user: JsonObject, cluster: JsonObject): Pick<KubeconfigContext, "certificate" | "key" | "bearer"> {
    for (const field of ["auth-provider", "username", "password", "as", "as-uid", "as-groups", "as-user-extra"]) {
      if (user[field] !== undefined && user[field] !== null)
        this.problems.push(`user field ${field} is not supported; use a token, a certificate or exec`);
    }
    const certificate = this.#pem(user, "client-certificate");
    const key = this.#pem(user, "client-key");
    if ((certificate === undefined) !== (key === undefined)) this.problems.push("client-certificate and client-key need each other");
    return { certificate, key, bearer: this.#readBearer(user, cluster) };
  }

  /** As client-go: tokenFile before token; exec only where neither is. */
  #readBearer(user: JsonObject, cluster: JsonObject): KubeconfigBearer {
    const tokenFile = textField(user, "tokenFile");
    const token = textField(user, "token");
    if (tokenFile !== "") return { type: "tokenFile", path: this.#absolute(tokenFile) };
    if (token !== "") return { type: "token", token };
    if (isObject(user["exec"])) return { type: "exec", plugin: this.#readExec(user["exec"], cluster) };
    return { type: "none" };
  }

  #readExec(exec: JsonObject, cluster: JsonObject): ExecPlugin {
    const apiVersion = textField(exec, "apiVersion");
    const command = textField(exec, "command");
    if (!execVersions.has(apiVersion)) this.problems.push(`exec.apiVersion is none of ${[...execVersions].join(", ")}`);
    if (command === "") this.problems.push("exec.command is missing");
    if (textField(exec, "interactiveMode") === "Always") this.problems.push("exec.interactiveMode Always: nobody sits at an agent");
    const env = listField(exec, "env").filter(isObject);
    return {
      apiVersion,
      command: command.includes("/") ? this.#absolute(command) : command,
      args: textsField(exec, "args"),
      env: Object.fromEntries(env.map((entry) => [textField(entry, "name"), textField(entry, "value")])),
      cluster: exec["provideClusterInfo"] === true ? execCluster(cluster) : undefined,
    };
  }

  /** PEM from `<field>-data`, or from the file that `<field>` names. */
  #pem(object: JsonObject, field: string): string | undefined {
    const data = textField(object, `${field}-data`);
    const path = textField(object, field);
    if (data !== "") return this.#checkPem(field, Buffer.from(data, "base64").toString("latin1"));
    if (path === "") return undefined;
    try {
      return this.#checkPem(field, readFileSync(this.#absolute(path), "latin1"));
    } catch {
      this.problems.push(`${field}: ${path} cannot be read`); // ENOENT, EACCES, EISDIR
      return undefined;
    }
  }

  #checkPem(field: string, text: string): string {
    if (!text.includes("-----BEGIN ")) this.problems.push(`${field} is not PEM`);
    return text;
  }

  #absolute(path: string): string {
    return isAbsolute(path) ? path : resolve(dirname(this.#path), path);
  }
}

function isServerUrl(text: string): boolean {
  const url = URL.parse(text);
  return (
    url !== null &&
    (url.protocol === "https:" || url.protocol === "http:") &&
    url.pathname === "/" &&
    url.search === "" &&
    url.username === ""
  );
}

/** The Cluster of an ExecCredential's spec. */
function execCluster(cluster: JsonObject): JsonObject {
  const fields = [
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
  ];
  return Object.fromEntries(fields.filter((field) => cluster[field] !== undefined).map((field) => [field, cluster[field]]));
}
