/**
 * A kubeconfig (client-go's v1 Config), for an agent outside its cluster. Everything that the file says about the chosen context is
 * honoured or refused by name: an agent that silently left out a line would connect as somebody else, or to something else.
 */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { parse } from "yaml";
import { GatewayError } from "#core/errors.ts";
import { isObject, listField, objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { readBearer, readClientCertificate, readServerTrust } from "#kubeconfig/entries.ts";
import type { ClientCertificate, KubeconfigBearer, ServerTrust } from "#kubeconfig/entries.ts";

/** One context of a kubeconfig, with the files that it names read. */
export interface KubeconfigContext extends ServerTrust, ClientCertificate {
  readonly server: string;
  readonly bearer: KubeconfigBearer;
}

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

  #readCluster(cluster: JsonObject): ServerTrust & { readonly server: string } {
    const server = textField(cluster, "server").replace(/\/+$/, "");
    if (!isServerUrl(server)) this.problems.push("server is not an http or https URL without a path");
    if (textField(cluster, "proxy-url") !== "") this.problems.push("proxy-url is not supported: the agent dials the apiserver itself");
    return { server, ...readServerTrust({ fields: cluster, directory: dirname(this.#path) }, this.problems) };
  }

  #readUser(user: JsonObject, cluster: JsonObject): ClientCertificate & { readonly bearer: KubeconfigBearer } {
    for (const field of ["auth-provider", "username", "password", "as", "as-uid", "as-groups", "as-user-extra"]) {
      if (user[field] !== undefined && user[field] !== null)
        this.problems.push(`user field ${field} is not supported; use a token, a certificate or exec`);
    }
    const entry = { fields: user, directory: dirname(this.#path) };
    const certificate = readClientCertificate(entry, this.problems);
    const bearer = readBearer(entry, cluster, this.problems);
    if (bearer.type === "exec" && bearer.plugin.interactiveMode === "Always")
      this.problems.push("exec.interactiveMode Always: nobody sits at an agent");
    return { ...certificate, bearer };
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
