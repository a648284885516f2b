/** Checks of this machine's kubectl: the kubeconfig's entry, and whether kubectl may start the plugin. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import type { CliContext } from "#cli/context.ts";
import { entryName } from "#cli/kubeconfig/entry.ts";
import { findKubeconfig } from "#cli/kubeconfig/file.ts";
import { isJsonObject, isSystemError } from "#cli/session/private-file.ts";
import { failed, passed, skipped, warned } from "./check.ts";
import type { CheckResult } from "./check.ts";

export async function checkKubeconfig(context: CliContext, gateway: string, cluster: string | undefined): Promise<CheckResult> {
  const path = await findKubeconfig(context);
  const config = await readYaml(path);
  if (config.type === "absent") return warned(`${path} does not exist`, "sallyport kubeconfig");
  if (config.type === "broken") return failed("USAGE", `${path} is not YAML`, "Correct the file; kubectl cannot read it either.");
  const prefix = entryName(gateway, cluster ?? "");
  const contexts = listOf(config.value, "contexts").filter(
    (item) => isJsonObject(item["context"]) && String(item["context"]["user"]).startsWith(prefix),
  );
  if (contexts.length === 0)
    return warned(`${path} has no context for it`, `sallyport kubeconfig${cluster === undefined ? "" : ` --cluster ${cluster}`}`);
  return passed(`${path}: ${contexts.map((item) => String(item["name"])).join(", ")}`);
}

/** kubectl 1.35 and later start only the plugins that ~/.kube/kuberc allows (kubectl reference, "kuberc"). */
export async function checkPluginPolicy(context: CliContext): Promise<CheckResult> {
  const path = (context.env["KUBERC"] ?? "") === "" ? join(context.homeDirectory, ".kube", "kuberc") : (context.env["KUBERC"] ?? "");
  const preferences = await readYaml(path);
  if (preferences.type === "absent") return passed("no kuberc: every plugin may run");
  if (preferences.type === "broken" || !isJsonObject(preferences.value)) return skipped(`${path} cannot be read`);
  const policy = preferences.value["credentialPluginPolicy"];
  const fix = `Add to ${path}:  credentialPluginPolicy: Allowlist, credentialPluginAllowlist: [{command: sallyport}]`;
  if (policy === "DenyAll") return failed("USAGE", `${path} lets kubectl run no credential plugin`, fix);
  if (policy !== "Allowlist") return passed(`${path} allows every plugin`);
  const allowed = listOf(preferences.value, "credentialPluginAllowlist").flatMap((item) => [item["command"], item["name"]]);
  const isAllowed = allowed.some((name) => typeof name === "string" && (name === "sallyport" || name.endsWith("/sallyport")));
  return isAllowed ? passed(`${path} allows sallyport`) : failed("USAGE", `${path} does not allow the plugin sallyport`, fix);
}

type YamlFile = { readonly type: "absent" } | { readonly type: "broken" } | { readonly type: "read"; readonly value: unknown };

async function readYaml(path: string): Promise<YamlFile> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (thrown) {
    return isSystemError(thrown, "ENOENT") ? { type: "absent" } : { type: "broken" };
  }
  try {
    return { type: "read", value: parse(text) };
  } catch {
    return { type: "broken" }; // a YAMLParseError: kubectl tells its line
  }
}

function listOf(document: unknown, field: string): readonly Readonly<Record<string, unknown>>[] {
  const list = isJsonObject(document) ? document[field] : undefined;
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}
