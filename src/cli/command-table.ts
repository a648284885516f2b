/** Every command by name. A row loads its command only when it is called, so that one command's packages do not slow another's start. */
import type { Command, RouteMap } from "@stricli/core";
import type { CliContext } from "./context.ts";

/** A command or a group of commands. */
export type CommandTarget = Command<CliContext> | RouteMap<CliContext>;

/**
 * A row: a command of this program, or a program of its own that main.ts starts before it loads anything else and that reads its own
 * arguments.
 */
export type CommandRow =
  | { readonly type: "command"; readonly brief: string; readonly load: () => Promise<{ readonly command: CommandTarget }> }
  | { readonly type: "program"; readonly brief: string };

export type CommandTable = Readonly<Record<string, CommandRow>>;

export const commandTable: CommandTable = {
  login: { type: "command", brief: "Sign in to a cluster or to the gateway", load: () => import("./commands/login.ts") },
  logout: { type: "command", brief: "Forget the sessions of a gateway", load: () => import("./commands/logout.ts") },
  kubeconfig: { type: "command", brief: "Add clusters to the kubeconfig", load: () => import("./commands/kubeconfig.ts") },
  proxy: { type: "command", brief: "Serve a cluster's API on this machine (as kubectl proxy)", load: () => import("./commands/proxy.ts") },
  forward: {
    type: "command",
    brief: "Forward TCP and UDP ports of pods, Services, Deployments and nodes",
    load: () => import("./commands/forward.ts"),
  },
  status: { type: "command", brief: "Show clusters and their agents", load: () => import("./commands/status.ts") },
  doctor: { type: "command", brief: "Find out what does not work, and how to fix it", load: () => import("./commands/doctor.ts") },
  cluster: { type: "command", brief: "Add, list and remove clusters (gateway admins)", load: () => import("./commands/cluster.ts") },
  trace: { type: "command", brief: "Explain what a packet to a Service meets on a node", load: () => import("./commands/trace.ts") },
  "load-balancer": {
    type: "command",
    brief: "Show what the role load-balancer would do",
    load: () => import("./commands/load-balancer.ts"),
  },
  demo: { type: "program", brief: "Start the whole system on this machine and show what it does" },
  agent: { type: "program", brief: "Run the agent inside a cluster" },
  credential: { type: "program", brief: "Give kubectl a token (kubectl runs it)" },
  completion: { type: "command", brief: "Print a completion script for bash, zsh or fish", load: () => import("./commands/completion.ts") },
  version: { type: "command", brief: "Print the version", load: () => import("./commands/version.ts") },
};
