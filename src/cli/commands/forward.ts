/** `sallyport forward`: TCP and UDP ports of pods, Services, Deployments and nodes on this machine, as `kubectl port-forward` and more. */
import { buildCommand } from "@stricli/core";
import type { CliContext } from "#cli/context.ts";
import { print, say } from "#cli/context.ts";
import { forwardTargetOf, parseObjectChoice, parsePortMapping } from "#cli/forward/arguments.ts";
import type { ObjectChoice, PortMapping } from "#cli/forward/arguments.ts";
import { ForwardGateway } from "#cli/forward/gateway.ts";
import { joinBytes } from "#cli/forward/join.ts";
import { listenTcp, listenUdp } from "#cli/forward/listeners.ts";
import type { Listener } from "#cli/forward/listeners.ts";
import { StatusLines } from "#cli/forward/status-lines.ts";
import { Traffic } from "#cli/forward/traffic.ts";
import { loadClientConfig } from "#cli/kubeconfig/client-config.ts";
import type { ClientFlags } from "#cli/kubeconfig/client-config.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { CredentialSource } from "#cli/proxy/credentials.ts";
import { impersonationHeaders } from "#cli/proxy/request-headers.ts";
import { Upstream } from "#cli/proxy/upstream.ts";
import { clientAliases, clientFlagParameters } from "./client-flags.ts";
import { toText } from "./flags.ts";

interface ForwardFlags extends ClientFlags {
  readonly namespace?: string;
  readonly address: string;
  readonly stdio: boolean;
}

export const command = buildCommand<ForwardFlags, [string, ...string[]], CliContext>({
  func: forward,
  parameters: {
    flags: {
      ...clientFlagParameters,
      namespace: { kind: "parsed", parse: toText, brief: "Namespace of the target (the context's)", placeholder: "NAME", optional: true },
      address: {
        kind: "parsed",
        parse: toText,
        brief: "Addresses to listen at, comma-separated; whoever reaches them reaches the target as you",
        placeholder: "LIST",
        default: "localhost",
      },
      stdio: {
        kind: "boolean",
        brief: "Join one TCP port to standard input and output, as ssh's ProxyCommand wants it",
        default: false,
        withNegated: false,
      },
    },
    aliases: { ...clientAliases, n: "namespace" },
    positional: {
      kind: "array",
      parameter: { parse: toText, brief: "The target, then ports: [LOCAL:]REMOTE[/udp]", placeholder: "argument" },
      minimum: 2,
    },
  },
  docs: {
    brief: "Forward TCP and UDP ports of pods, Services, Deployments and nodes to this machine",
    customUsage: ["svc/dns 5353:53/udp", "deployment/web 8080:http 9090", "pod/db :5432 -n shop", "--stdio node/n1 22"],
  },
});

/** A port that is listened at or about to be. */
interface ForwardedPort {
  readonly mapping: PortMapping;
  readonly chosen: string;
  readonly listeners: readonly { readonly address: string; readonly listener: Listener }[];
}

async function forward(this: CliContext, flags: ForwardFlags, ...[targetText = "", ...portTexts]: readonly string[]): Promise<void> {
  const object = parseObjectChoice(targetText);
  const mappings = portTexts.map(parsePortMapping);
  const { gateway, namespace } = await openGateway(this, flags);
  if (flags.stdio) return forwardStdio(this, gateway, { object, namespace, mappings });
  const addresses = parseAddresses(flags.address);
  const ports: ForwardedPort[] = [];
  try {
    for (const mapping of mappings) ports.push(await openPort({ gateway, object, namespace, mapping, addresses }));
    await serve(this, ports, targetText);
  } finally {
    for (const { listener } of ports.flatMap((port) => port.listeners)) listener.close();
  }
}

async function openGateway(
  context: CliContext,
  flags: ForwardFlags,
): Promise<{ readonly gateway: ForwardGateway; readonly namespace: string }> {
  const config = await loadClientConfig({
    flags,
    env: context.env,
    homeDirectory: context.homeDirectory,
    workingDirectory: context.workingDirectory,
    serviceAccountDirectory: "/var/run/secrets/kubernetes.io/serviceaccount",
  });
  const gateway = new ForwardGateway({
    server: config.server,
    upstream: new Upstream({ server: config.server, proxy: config.proxy, environment: context.env }),
    credentials: new CredentialSource({
      config,
      environment: context.env,
      clock: context.time,
      interactive: context.terminal.input && context.terminal.error && !flags.stdio,
    }),
    impersonation: impersonationHeaders(config.impersonation),
    now: context.time.now,
    wait: context.time.wait,
  });
  return { gateway, namespace: flags.namespace ?? (config.namespace || "default") };
}

/** kubectl's `localhost` is both loopback addresses. */
function parseAddresses(list: string): readonly string[] {
  const addresses = list.split(",").flatMap((text) => (text.trim() === "localhost" ? ["127.0.0.1", "::1"] : [text.trim()]));
  if (addresses.includes("")) throw usageError(`--address ${list}: give IP addresses or localhost, comma-separated`);
  return addresses;
}

interface PortOptions {
  readonly gateway: ForwardGateway;
  readonly object: ObjectChoice;
  readonly namespace: string;
  readonly mapping: PortMapping;
  readonly addresses: readonly string[];
}

/** Asks for the target first, so that a wrong name, port or right is told before anything listens. */
async function openPort({ gateway, object, namespace, mapping, addresses }: PortOptions): Promise<ForwardedPort> {
  const target = forwardTargetOf(object, namespace, mapping);
  const chosen = await gateway.describe(target);
  const open = (signal: AbortSignal) => gateway.open(target, signal);
  const listen = mapping.protocol === "tcp" ? listenTcp : listenUdp;
  const listeners: { readonly address: string; readonly listener: Listener }[] = [];
  let port =
    mapping.localPort ?? (mapping.remote.type === "number" ? mapping.remote.port : Number(chosen.slice(chosen.lastIndexOf("/") + 1)));
  for (const address of addresses) {
    try {
      const listener = await listen({ address, port }, open);
      listeners.push({ address, listener });
      ({ port } = listener); // a free one was asked for: the other addresses take the same
    } catch (thrown) {
      // As with kubectl, a machine without IPv6 has one loopback address.
      const isSecond = address === "::1" && listeners.length > 0;
      if (isSecond) continue;
      for (const { listener } of listeners) listener.close();
      throw thrown;
    }
  }
  return { mapping, chosen, listeners };
}

async function serve(context: CliContext, ports: readonly ForwardedPort[], targetText: string): Promise<void> {
  const lines = new StatusLines({ write: (text) => context.process.stderr.write(text), isTerminal: context.terminal.error });
  for (const { mapping, chosen, listeners } of ports) {
    const { remote, protocol } = mapping;
    const remoteText = `${remote.type === "number" ? remote.port : remote.name}${protocol === "udp" ? "/udp" : ""}`;
    const [first] = listeners;
    const traffic = new Traffic(`${placeText(first)} -> ${targetText}:${remoteText}`, chosen, { tell: (line) => lines.tell(line) });
    lines.add(traffic);
    for (const each of listeners) {
      each.listener.serve(traffic);
      print(context, `Forwarding from ${placeText(each)} -> ${targetText}:${remoteText} (${chosen})\n`);
    }
  }
  lines.start();
  await untilAborted(context.signal);
  lines.stop();
}

function placeText(place: ForwardedPort["listeners"][number] | undefined): string {
  if (place === undefined) return "nowhere";
  const { address, listener } = place;
  return `${address.includes(":") ? `[${address}]` : address}:${listener.port}`;
}

async function forwardStdio(
  context: CliContext,
  gateway: ForwardGateway,
  { object, namespace, mappings }: { readonly object: ObjectChoice; readonly namespace: string; readonly mappings: readonly PortMapping[] },
): Promise<void> {
  const [mapping] = mappings;
  if (mapping === undefined || mappings.length > 1 || mapping.protocol !== "tcp" || mapping.localPort !== undefined)
    throw usageError("--stdio takes one TCP port, without a local one");
  const connection = await gateway.open(forwardTargetOf(object, namespace, mapping), context.signal);
  const { input, output } = context.standardStreams();
  context.signal.addEventListener("abort", () => connection.reset("CANCEL"));
  const outcome = await joinBytes({ input, output, breakOff: () => void input.destroy() }, connection);
  if (outcome.type === "reset")
    throw new CommandError({ code: "AGENT_GONE", title: `The connection ended: ${outcome.reason || outcome.code}` });
  if (outcome.type === "left") say(context, "The connection was closed here");
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
