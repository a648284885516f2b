/**
 * The rules of this repository that a machine can check: who may import whom, which modules may reach the network, and how large a
 * function may grow. Compiler project references keep the runtimes apart; this file keeps the parts of one runtime apart.
 * A folder may import itself (`./…`), and what its row of `folders` names. An exception is a row of its own, with its reason.
 */
import { defineConfig, type OxlintOverride } from "oxlint";

interface FolderRule {
  /** Glob of the files, relative to the repository. Later rows replace earlier ones. */
  readonly files: string;
  /** Import specifiers, with `*` and `**`. */
  readonly mayImport: readonly string[];
  /** Whether the file opens connections itself. */
  readonly dials?: boolean;
  /** Whether types may come from anywhere: they leave nothing in the running program. */
  readonly allowsTypes?: boolean;
  /** Why nothing else: shown to whoever breaks the rule. */
  readonly because: string;
}

const clusterClient = "@kubernetes/client-node";
const nodeModules = "node:*";
const nodeSubmodules = "node:*/*";
/** What a node does for Services, as types: readers, planner and dataplanes speak to each other in them. */
const serviceTypes = ["#agent/dataplane/dataplane.ts", "#agent/dataplane/node-plan.ts", "#agent/dataplane/objects.ts"];

const folders: readonly FolderRule[] = [
  { files: "src/core/*.ts", mayImport: ["#core/**"], because: "core is pure: no package, no node:, no runtime." },
  {
    files: "src/core/tunnel/**",
    mayImport: ["#core/errors.ts", "#core/brand.ts"],
    because: "core/tunnel knows frames and streams, not Kubernetes; core is pure.",
  },
  {
    files: "src/core/kube/**",
    mayImport: ["#core/errors.ts", "#core/brand.ts"],
    because: "core/kube knows the Kubernetes API's grammar, not the tunnel; core is pure.",
  },
  {
    files: "src/core/access/**",
    mayImport: ["#core/errors.ts", "#core/brand.ts", "#core/kube/**"],
    because: "core/access decides over requests and identities; core is pure.",
  },
  {
    files: "src/identity/**",
    mayImport: ["#core/**", "#identity/**", "jose", "jose/errors", "@marcbachmann/cel-js", "yaml"],
    because: "identity runs in the gateway and in the agent: core, jose, CEL and YAML only.",
  },
  {
    files: "src/kubeconfig/**",
    mayImport: ["#core/**", nodeModules, nodeSubmodules],
    because: "what a kubeconfig says of a credential is read alike by the agent and by the command line, and knows neither.",
  },
  {
    files: "src/agent/*.ts",
    mayImport: ["#core/**", "#identity/**", "#agent/**", nodeModules, nodeSubmodules, "ws", "undici", "yaml"],
    because: "the agent is Node code beside the gateway, not above it: core, identity, node:, ws, undici.",
  },
  agentPart("apiserver", ["undici"]),
  { ...agentPart("apiserver", []), files: "src/agent/apiserver/tcp-dial.ts", dials: true },
  agentPart("dataplane", []),
  { ...agentPart("dataplane", []), files: "src/agent/dataplane/userspace/dial.ts", dials: true },
  agentPart("dial", []),
  { ...agentPart("dial", []), files: "src/agent/dial/sockets.ts", dials: true },
  agentPart("load-balancer", []),
  agentPart("issuers", []),
  { ...agentPart("issuers", []), files: "src/agent/issuers/issuer-keys.ts", dials: true },
  agentPart("requests", ["#agent/tunnel/tunnel-stream.ts"]),
  agentPart("service-proxy", serviceTypes),
  agentPart("config", [
    "#agent/dataplane/trace.ts",
    "#agent/service-proxy/address-text.ts",
    "#agent/service-proxy/kube-proxy-configuration.ts",
    "#agent/load-balancer/drivers.ts",
    "#agent/load-balancer/drivers/node-ip-options.ts",
    "#agent/load-balancer/label-selector.ts",
    "#agent/load-balancer/limits.ts",
    "#agent/load-balancer/nodes.ts",
    "#agent/load-balancer/plan.ts",
  ]),
  agentPart("tunnel", ["ws"]),
  agentPart("websocket", ["ws"]),
  {
    files: "src/agent/cluster/**",
    mayImport: [
      "#core/**",
      "#identity/**",
      "#agent/*.ts",
      "#agent/cluster/**",
      "#kubeconfig/**",
      ...serviceTypes,
      "#agent/load-balancer/objects.ts",
      nodeModules,
      nodeSubmodules,
      clusterClient,
      "yaml",
    ],
    because:
      "agent/cluster is the one place that knows the Kubernetes client, and it knows no sibling but the types that it reads objects into.",
  },
  {
    files: "src/cli/**",
    mayImport: [
      "#core/**",
      "#identity/**",
      "#kubeconfig/**",
      "#cli/**",
      nodeModules,
      nodeSubmodules,
      "@stricli/core",
      "@stricli/core/*",
      "oauth4webapi",
      "jose",
      "undici",
      "ws",
      "yaml",
    ],
    because: "the CLI talks to the gateway over HTTP; it starts the agent, the sandbox and the gateway as programs.",
  },
  {
    files: "src/cli/proxy/upstream.ts",
    mayImport: ["#core/**", "#kubeconfig/**", "#cli/**", nodeModules, "socks", "ws"],
    because: "the proxy dials the apiserver here, and SOCKS and WebSocket are spoken by their libraries.",
  },
  {
    files: "src/cli/kubeconfig/target-cluster.ts",
    mayImport: ["#core/**", "#cli/**", nodeModules, nodeSubmodules, clusterClient],
    because: "the command line reads other people's kubeconfigs in this one file.",
  },
  {
    files: "src/cli/workerd/**",
    mayImport: ["#core/**", "#cli/**", nodeModules, nodeSubmodules, "@peculiar/x509", "reflect-metadata"],
    because: "a workerd of one's own needs its configuration and a certificate, nothing else.",
  },
  {
    files: "src/cli/demo/**",
    mayImport: ["#core/**", "#cli/**", nodeModules, nodeSubmodules, "jose", "oidc-provider", "rolldown", "ws", "yaml"],
    because: "the demo starts the gateway, the agent and the sandbox as programs; it only bundles and signs in itself.",
  },
  {
    files: "src/cli/credential.ts",
    mayImport: ["#core/**", "#cli/session/**", nodeModules, nodeSubmodules],
    because: "kubectl starts the credential plugin at every command; a package here is paid for each time.",
  },
  {
    files: "src/sandbox/**",
    mayImport: ["#core/**", "#identity/**", "#sandbox/**", nodeModules, nodeSubmodules, "ws", "yaml", "jose"],
    because: "the sandbox is a cluster of its own and shares no code with what it tests.",
  },
  {
    files: "workers/**",
    mayImport: ["#core/**", "#identity/**", "#workers/**", "hono", "jose", "yaml", "oauth4webapi", "cloudflare:workers"],
    because: "the gateway runs in workerd: no node:, no agent, no CLI, and of hono the router only (no jwt, no cors, no proxy).",
  },
  workerPart("auth"),
  workerPart("hub"),
  workerPart("session"),
  workerPart("issuer"),
  { ...workerPart("pages"), mayImport: ["#core/**", "#workers/pages/**"] },
];

function agentPart(part: string, others: readonly string[]): FolderRule {
  return {
    files: `src/agent/${part}/**`,
    mayImport: ["#core/**", "#identity/**", "#agent/*.ts", `#agent/${part}/**`, nodeModules, nodeSubmodules, ...others],
    because: "the agent's parts meet only in its main.ts; a part defines the interfaces that it needs. Only dialers know ws and undici.",
  };
}

function workerPart(part: string): FolderRule {
  return {
    files: `workers/${part}/**`,
    mayImport: ["#core/**", "#identity/**", "#workers/*.ts", `#workers/${part}/**`, "jose", "yaml", "oauth4webapi", "cloudflare:workers"],
    allowsTypes: true,
    because: "the gateway's parts meet only in its routes; a part defines the interfaces that it needs, or takes another's types.",
  };
}

/** Names that would give a file the network, the clock or the process behind its caller's back. */
const fetchGlobal = {
  name: "fetch",
  message: "Take fetch as a parameter; only a main.ts and the modules listed in oxlint.config.ts dial.",
};
const headersGlobal = { name: "Headers", message: "Headers joins repeated fields and hides their order; header lists are arrays here." };
const nodeGlobals = ["process", "Buffer", "global", "__dirname", "require"].map((name) => ({
  name,
  message: "This code runs in workerd too, where that is missing or a stand-in.",
}));
const ambientGlobals = ["setTimeout", "setInterval", "performance", "crypto", "WebSocket", "console"].map((name) => ({
  name,
  message: "core is pure: clock, randomness, sockets and output are parameters.",
}));
const impureProperties = [
  { object: "Date", property: "now", message: "The clock is a parameter." },
  { object: "Math", property: "random", message: "Randomness is a parameter." },
];
const dialers = [
  { module: "net", functions: ["connect", "createConnection"] },
  { module: "tls", functions: ["connect"] },
  { module: "http", functions: ["request", "get"] },
  { module: "https", functions: ["request", "get"] },
  { module: "http2", functions: ["connect"] },
  { module: "dgram", functions: ["createSocket"] },
];
const dialMessage = "Only the agent's dialers open connections; take a dial function as a parameter.";
const dialProperties = dialers.flatMap(({ module, functions }) =>
  functions.map((property) => ({ object: module, property, message: dialMessage })),
);
const dialImports = dialers.map(({ module, functions }) => ({ name: `node:${module}`, importNames: functions, message: dialMessage }));

function importRule({ files, mayImport, dials = false, allowsTypes = false, because }: FolderRule): OxlintOverride {
  const group = ["**", "!./**", ...mayImport.map((specifier) => `!${specifier}`)];
  const paths = files.startsWith("src/agent/") && !dials ? dialImports : [];
  return {
    files: [files],
    rules: { "no-restricted-imports": ["error", { paths, patterns: [{ group, message: because, allowTypeImports: allowsTypes }] }] },
  };
}

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import"],
  categories: { correctness: "error", suspicious: "error" },
  options: { typeAware: true },
  rules: {
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/no-floating-promises": "error",
    "typescript/switch-exhaustiveness-check": "error",
    // Reading foreign JSON needs `as` beside a check; the reason stands in a comment there, which no linter can judge.
    "typescript/no-unsafe-type-assertion": "off",
    // `...["--flag", value]` keeps what belongs together on one line.
    "unicorn/no-useless-spread": "off",
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    "import/no-unassigned-import": "off",
    "oxc/no-barrel-file": "error",
    "unicorn/filename-case": ["error", { case: "kebabCase" }],
    "max-lines": ["error", { max: 400 }],
    "max-lines-per-function": ["error", { max: 60 }],
    "max-params": ["error", { max: 4 }],
    // An exhaustive switch over a union is the house style and counts as one branch.
    complexity: ["error", { max: 12, variant: "modified" }],
    // The compiler's noImplicitReturns says the same and understands an exhaustive switch.
    "typescript/consistent-return": "off",
    // fast-check's own form of import.
    "import/no-named-as-default-member": "off",
    // A small function may stand beside its only user.
    "unicorn/consistent-function-scoping": "off",
    "no-await-in-loop": "off",
  },
  overrides: [
    ...folders.map(importRule),
    {
      files: ["src/core/**"],
      rules: {
        "no-restricted-globals": ["error", fetchGlobal, headersGlobal, ...nodeGlobals, ...ambientGlobals],
        "no-restricted-properties": ["error", ...impureProperties],
      },
    },
    {
      files: ["src/identity/**"],
      rules: {
        "no-restricted-globals": ["error", fetchGlobal, headersGlobal, ...nodeGlobals],
        "no-restricted-properties": ["error", ...impureProperties],
      },
    },
    {
      files: ["src/agent/**"],
      rules: {
        "no-restricted-globals": ["error", fetchGlobal, headersGlobal],
        "no-restricted-properties": ["error", ...dialProperties],
      },
    },
    // The agent's dialers: to the apiservers, to the gateway, and to the endpoints of Services.
    {
      files: [
        "src/agent/apiserver/connections.ts",
        "src/agent/apiserver/upgrade.ts",
        "src/agent/dataplane/userspace/dial.ts",
        "src/agent/tunnel/dial.ts",
        "src/agent/main.ts",
      ],
      rules: { "no-restricted-globals": "off", "no-restricted-properties": "off" },
    },
    { files: ["workers/**"], rules: { "no-restricted-globals": ["error", fetchGlobal, ...nodeGlobals] } },
    // The places where the gateway takes the platform's fetch: to hand it on, to fetch the keys of issuers, and to renew sign-ins.
    {
      files: ["workers/main.ts", "workers/auth/issuer-keys.ts", "workers/session/sessions.ts"],
      rules: { "no-restricted-globals": ["error", ...nodeGlobals] },
    },
    // A Worker's entry is its default export.
    { files: ["workers/main.ts", "*.config.ts", "test/**"], rules: { "import/no-default-export": "off" } },
    // A test's describe block is one function, as long as its cases.
    { files: ["test/**"], rules: { "max-lines-per-function": "off" } },
  ],
  ignorePatterns: ["dist/**", "workers/env.d.ts", "node_modules/**"],
});
