/** Changing a kubeconfig's text (`kubectl config`'s v1 Config), keeping comments, order and fields that are not ours. */
import { isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { Document, YAMLMap, YAMLSeq } from "yaml";
import { entryName, execFields } from "./entry.ts";
import type { KubeconfigEntry } from "./entry.ts";

/** The new text; or why the old one is left alone. */
export type KubeconfigChange =
  | { readonly type: "changed"; readonly text: string; readonly contexts: readonly string[] }
  | { readonly type: "unchanged"; readonly contexts: readonly string[] }
  | { readonly type: "refused"; readonly problems: readonly string[] };

/** Adds or updates the entries. A context of that name that leads somewhere else is a conflict, and then nothing is changed. */
export function mergeKubeconfig(text: string, entries: readonly KubeconfigEntry[]): KubeconfigChange {
  return change(text, (config) => {
    const problems = entries.flatMap((entry) => findConflict(config, entry) ?? []);
    if (problems.length > 0) return { type: "refused", problems };
    for (const entry of entries) mergeEntry(config, entry);
    const [first] = entries;
    const current = config.get("current-context");
    if (first !== undefined && (current === undefined || current === null || current === ""))
      config.set("current-context", first.contextName);
    return { type: "done", contexts: entries.map((entry) => entry.contextName) };
  });
}

/** Removes our entries for these clusters of the gateway (all of them when no cluster is named), with the contexts that use them. */
export function removeFromKubeconfig(text: string, gateway: string, clusters: readonly string[]): KubeconfigChange {
  return change(text, (config) => {
    const prefix = entryName(gateway, "");
    const names = new Set(
      listItems(config, "users")
        .map(nameOf)
        .filter((name) => name.startsWith(prefix) && (clusters.length === 0 || clusters.includes(name.slice(prefix.length)))),
    );
    const contexts = listItems(config, "contexts").filter((item) => names.has(textAt(item, ["context", "user"])));
    const contextNames = contexts.map(nameOf);
    removeItems(config, "users", (item) => names.has(nameOf(item)));
    removeItems(config, "clusters", (item) => names.has(nameOf(item)));
    removeItems(config, "contexts", (item) => contexts.includes(item));
    if (contextNames.includes(String(config.get("current-context")))) config.set("current-context", "");
    return { type: "done", contexts: contextNames };
  });
}

type Edit =
  | { readonly type: "done"; readonly contexts: readonly string[] }
  | { readonly type: "refused"; readonly problems: readonly string[] };

function change(text: string, edit: (config: Document) => Edit): KubeconfigChange {
  const config = parseDocument(text === "" ? emptyKubeconfig : text);
  if (config.errors.length > 0) return { type: "refused", problems: config.errors.map((error) => error.message) };
  if (!isMap(config.contents)) return { type: "refused", problems: ["the file is no kubeconfig: its top level is not a mapping"] };
  const lists = ["clusters", "users", "contexts"].filter((name) => !isSeq(config.get(name)) && (config.get(name) ?? null) !== null);
  if (lists.length > 0) return { type: "refused", problems: lists.map((name) => `the file is no kubeconfig: ${name} is not a list`) };
  const before = JSON.stringify(config.toJS());
  const edited = edit(config);
  if (edited.type === "refused") return edited;
  if (text !== "" && JSON.stringify(config.toJS()) === before) return { type: "unchanged", contexts: edited.contexts };
  // lineWidth 0: long certificate lines must not be folded; a fold would be read back right, but other programs' diffs would grow.
  return { type: "changed", text: config.toString({ lineWidth: 0, indentSeq: !hasFlatLists.test(text) }), contexts: edited.contexts };
}

/** kubectl writes its lists without indentation; most editors and people indent them. */
const hasFlatLists = /^\w+:[ \t]*\r?\n- /m;

const emptyKubeconfig = "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n";

function findConflict(config: Document, entry: KubeconfigEntry): string | undefined {
  const existing = listItems(config, "contexts").find((item) => nameOf(item) === entry.contextName);
  if (existing === undefined || textAt(existing, ["context", "cluster"]) === entryName(entry.gateway, entry.cluster)) return undefined;
  return `there is already a context "${entry.contextName}" for something else; choose another name with --context-name, such as --context-name '{cluster}-sallyport'`;
}

function mergeEntry(config: Document, entry: KubeconfigEntry): void {
  const name = entryName(entry.gateway, entry.cluster);
  const cluster = ensureItem(config, "clusters", name);
  setAt(config, cluster, ["cluster", "server"], entry.server);
  if (entry.authorities !== undefined)
    setAt(config, cluster, ["cluster", "certificate-authority-data"], Buffer.from(entry.authorities).toString("base64"));
  const user = ensureItem(config, "users", name);
  for (const [field, value] of Object.entries(execFields(entry))) setAt(config, user, ["user", "exec", field], value);
  const context = ensureItem(config, "contexts", entry.contextName);
  setAt(config, context, ["context", "cluster"], name);
  setAt(config, context, ["context", "user"], name);
  if (entry.namespace !== undefined) setAt(config, context, ["context", "namespace"], entry.namespace);
}

function ensureItem(config: Document, list: string, name: string): YAMLMap {
  const existing = listItems(config, list).find((item) => nameOf(item) === name);
  if (existing !== undefined) return existing;
  const item = config.createNode({ name }) as YAMLMap; // an object becomes a map
  const items = ensureList(config, list);
  // An empty `[]` would print its items in one line.
  if (items.items.length === 0) items.flow = false;
  items.add(item);
  return item;
}

function ensureList(config: Document, list: string): YAMLSeq {
  const existing = config.get(list);
  if (isSeq(existing)) return existing;
  config.set(list, config.createNode([]));
  return config.get(list) as YAMLSeq; // just made
}

/** Sets a value unless it is the same already, so that the style it was written in stays. */
function setAt(config: Document, item: YAMLMap, path: readonly string[], value: unknown): void {
  const current = item.getIn(path, true);
  const isSame = isScalar(current)
    ? current.value === value
    : isSeq(current) && JSON.stringify(current.toJS(config)) === JSON.stringify(value);
  if (isSame) return;
  for (let depth = 1; depth < path.length; depth += 1) {
    const part = path.slice(0, depth);
    if (!isMap(item.getIn(part, true))) item.setIn(part, config.createNode({}));
  }
  item.setIn(path, config.createNode(value));
}

function listItems(config: Document, list: string): readonly YAMLMap[] {
  const items = config.get(list);
  return isSeq(items) ? items.items.filter(isMap) : [];
}

function removeItems(config: Document, list: string, isRemoved: (item: YAMLMap) => boolean): void {
  const items = config.get(list);
  if (isSeq(items)) items.items = items.items.filter((item) => !(isMap(item) && isRemoved(item)));
}

function nameOf(item: YAMLMap): string {
  return textAt(item, ["name"]);
}

function textAt(item: YAMLMap, path: readonly string[]): string {
  const value = item.getIn(path);
  return typeof value === "string" ? value : "";
}
