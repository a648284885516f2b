import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { contextName } from "#cli/kubeconfig/entry.ts";
import type { KubeconfigEntry } from "#cli/kubeconfig/entry.ts";
import { mergeKubeconfig, removeFromKubeconfig } from "#cli/kubeconfig/merge.ts";
import type { KubeconfigChange } from "#cli/kubeconfig/merge.ts";

const gateway = "https://gw.example.com";

function makeEntry(changes: Partial<KubeconfigEntry> = {}): KubeconfigEntry {
  return {
    gateway,
    cluster: "prod",
    server: "https://prod.gw.example.com",
    authorities: undefined,
    contextName: "prod",
    namespace: undefined,
    audience: undefined,
    plugin: { command: "sallyport", leadingArgs: [] },
    ...changes,
  };
}

function textOf(change: KubeconfigChange): string {
  if (change.type !== "changed") throw new Error(`not changed: ${change.type}`);
  return change.text;
}

const existing = `# my clusters
apiVersion: v1
kind: Config
preferences: {}
current-context: kind
clusters:
  - name: kind # the local one
    cluster:
      server: https://127.0.0.1:6443
      certificate-authority-data: Zm9v
      my-own-field: kept
users:
  - name: kind
    user: { client-key-data: c2VjcmV0 }
contexts:
  - name: kind
    context: { cluster: kind, user: kind, namespace: web }
`;

describe("mergeKubeconfig", () => {
  it("makes a kubeconfig from nothing", () => {
    expect(parse(textOf(mergeKubeconfig("", [makeEntry({ namespace: "web", authorities: "PEM" })])))).toEqual({
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        { name: "sallyport/gw.example.com/prod", cluster: { server: "https://prod.gw.example.com", "certificate-authority-data": "UEVN" } },
      ],
      users: [
        {
          name: "sallyport/gw.example.com/prod",
          user: {
            exec: {
              apiVersion: "client.authentication.k8s.io/v1",
              command: "sallyport",
              args: ["credential", "--gateway", gateway, "--cluster", "prod"],
              interactiveMode: "IfAvailable",
              provideClusterInfo: false,
              installHint: expect.stringContaining("sallyport login --gateway https://gw.example.com --cluster prod"),
            },
          },
        },
      ],
      contexts: [
        { name: "prod", context: { cluster: "sallyport/gw.example.com/prod", user: "sallyport/gw.example.com/prod", namespace: "web" } },
      ],
      "current-context": "prod",
    });
  });

  it("keeps every line of what was there, comments and unknown fields included", () => {
    const text = textOf(mergeKubeconfig(existing, [makeEntry()]));
    expect(existing.split("\n").filter((line) => !text.split("\n").includes(line))).toEqual([]);
    expect(parse(text)).toMatchObject({ "current-context": "kind" });
  });

  it("keeps the flat lists that kubectl writes", () => {
    const written =
      "apiVersion: v1\nclusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: kind\ncontexts:\n- context:\n    cluster: kind\n    user: kind\n  name: kind\ncurrent-context: kind\nkind: Config\npreferences: {}\nusers:\n- name: kind\n  user: {}\n";
    const lines = textOf(mergeKubeconfig(written, [makeEntry()])).split("\n");
    expect(written.split("\n").filter((line) => !lines.includes(line))).toEqual([]);
  });

  it("changes nothing the second time", () => {
    const once = textOf(mergeKubeconfig(existing, [makeEntry()]));
    expect(mergeKubeconfig(once, [makeEntry()])).toEqual({ type: "unchanged", contexts: ["prod"] });
  });

  it("updates its own entry in place, and keeps what the person added to it", () => {
    const before = textOf(mergeKubeconfig("", [makeEntry()]))
      .replace("    context:\n", "    context:\n      namespace: mine\n")
      .replace("      server:", "      proxy-url: http://proxy\n      server:");
    const after = parse(textOf(mergeKubeconfig(before, [makeEntry({ server: "https://gw.example.com/k/prod" })]))) as object;
    expect(after).toMatchObject({
      clusters: [{ cluster: { "proxy-url": "http://proxy", server: "https://gw.example.com/k/prod" } }],
      contexts: [{ context: { namespace: "mine" } }],
    });
  });

  it.each([
    {
      name: "null lists, as kubectl writes them",
      text: 'apiVersion: v1\nkind: Config\nclusters: null\ncontexts: null\nusers: null\ncurrent-context: ""\n',
    },
    { name: "empty lists", text: "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n" },
    { name: "no lists", text: "apiVersion: v1\nkind: Config\n" },
    { name: "JSON", text: '{"apiVersion":"v1","kind":"Config","clusters":[],"contexts":[],"users":[]}' },
    { name: "Windows line ends", text: "apiVersion: v1\r\nkind: Config\r\nclusters: []\r\n" },
  ])("fills $name", ({ text }) => {
    expect(parse(textOf(mergeKubeconfig(text, [makeEntry()])))).toMatchObject({
      clusters: [{ name: "sallyport/gw.example.com/prod" }],
      users: [{ name: "sallyport/gw.example.com/prod" }],
      contexts: [{ name: "prod" }],
      "current-context": "prod",
    });
  });

  it("does not take a context's name from somebody else's cluster", () => {
    const change = mergeKubeconfig(existing, [makeEntry(), makeEntry({ cluster: "kind", contextName: "kind" })]);
    expect(change).toEqual({ type: "refused", problems: [expect.stringContaining('already a context "kind"')] });
  });

  it("does not take a context's name from another gateway's cluster", () => {
    const other = textOf(mergeKubeconfig("", [makeEntry({ gateway: "https://other.example.com" })]));
    expect(mergeKubeconfig(other, [makeEntry()]).type).toBe("refused");
  });

  it.each([
    { name: "broken YAML", text: "clusters: [" },
    { name: "a list", text: "- a\n" },
    { name: "text", text: "hello" },
    { name: "a mapping where a list belongs", text: "clusters: {a: 1}\n" },
    { name: "two documents", text: "a: 1\n---\nb: 2\n" },
  ])("leaves $name alone", ({ text }) => {
    expect(mergeKubeconfig(text, [makeEntry()]).type).toBe("refused");
  });

  it("puts a full path before the plugin's arguments when sallyport is not installed", () => {
    const plugin = { command: "/opt/node", leadingArgs: ["/opt/sallyport.js"] };
    const config = parse(textOf(mergeKubeconfig("", [makeEntry({ plugin, audience: "aud" })]))) as {
      users: { user: { exec: { args: string[] } } }[];
    };
    expect(config.users[0]?.user.exec.args).toEqual([
      "/opt/sallyport.js",
      "credential",
      "--gateway",
      gateway,
      "--cluster",
      "prod",
      "--audience",
      "aud",
    ]);
  });

  it("keeps a hostile server address inside its field", () => {
    const server = 'https://x/"\n  - name: evil';
    expect(parse(textOf(mergeKubeconfig("", [makeEntry({ server })])))).toMatchObject({ clusters: [{ cluster: { server } }] });
  });
});

describe("removeFromKubeconfig", () => {
  const merged = textOf(mergeKubeconfig(existing, [makeEntry(), makeEntry({ cluster: "staging", contextName: "staging" })]));

  it("takes out what was added, and leaves the rest as it was", () => {
    const change = removeFromKubeconfig(merged, gateway, []);
    expect(change).toMatchObject({ contexts: ["prod", "staging"] });
    expect(parse(textOf(change))).toEqual(parse(existing));
  });

  it("takes out the named cluster only", () => {
    const change = removeFromKubeconfig(merged, gateway, ["staging"]);
    expect(change).toMatchObject({ contexts: ["staging"] });
    expect(parse(textOf(change))).toMatchObject({ contexts: [{ name: "kind" }, { name: "prod" }] });
  });

  it("leaves no current context that leads nowhere", () => {
    const text = merged.replace("current-context: kind", "current-context: prod");
    expect(parse(textOf(removeFromKubeconfig(text, gateway, [])))).toMatchObject({ "current-context": "" });
  });

  it.each(["https://gw.example.co", "https://gw.example.com:8443", "https://other.example.com"])(
    "leaves the entries of another gateway: %s",
    (other) => {
      expect(removeFromKubeconfig(merged, other, []).type).toBe("unchanged");
    },
  );
});

describe("contextName", () => {
  it.each([
    ["{cluster}", "prod"],
    ["{gateway}-{cluster}", "gw.example.com-prod"],
    ["fixed", "fixed"],
  ])("%s gives %s", (template, name) => {
    expect(contextName(template, { gateway, cluster: "prod" })).toBe(name);
  });

  it.each(["", " ", "a b", "a\nb"])("refuses %j", (template) => {
    expect(contextName(template, { gateway, cluster: "prod" })).toBeUndefined();
  });
});
