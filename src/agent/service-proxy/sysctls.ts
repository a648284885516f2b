/** The kernel settings that kube-proxy makes at its start, for a connection tracking table that is large enough and entries that last. */
import type { ConntrackSettings } from "./kube-proxy-configuration.ts";

/** One setting: a file with a number in it. */
export interface KernelSetting {
  /** Below the folder of sysctls, or an absolute path. */
  readonly path: string;
  readonly value: number;
  /** A larger value than this is left alone. */
  readonly isMinimum: boolean;
}

/** Reads and writes the kernel's files; both reject as file systems do. */
export interface KernelFiles {
  read(path: string): Promise<string>;
  write(path: string, text: string): Promise<void>;
}

/** What became of a setting. */
export type KernelSettingOutcome =
  | { readonly type: "kept" | "written"; readonly setting: KernelSetting }
  /** The kernel lacks it or refuses it, or the file system is read-only: the proxy goes on, and this says what to do by hand. */
  | { readonly type: "refused"; readonly setting: KernelSetting; readonly message: string };

const netfilter = "net/netfilter/nf_conntrack";
const hashSizePath = "/sys/module/nf_conntrack/parameters/hashsize";
/** Entries for each bucket of the hash table (kube-proxy, conntrack.go). */
const entriesPerBucket = 4;

/** The settings for a machine with some processor cores. */
export function planKernelSettings(conntrack: ConntrackSettings, cores: number): readonly KernelSetting[] {
  const max = conntrack.maxPerCore > 0 ? Math.max(conntrack.maxPerCore * cores, conntrack.min) : 0;
  const exactly = (name: string, value: number): readonly KernelSetting[] =>
    value > 0 ? [{ path: `${netfilter}_${name}`, value, isMinimum: false }] : [];
  return [
    ...exactly("max", max),
    ...(max > 0 ? [{ path: hashSizePath, value: Math.floor(max / entriesPerBucket), isMinimum: true }] : []),
    ...exactly("tcp_timeout_established", conntrack.tcpEstablishedSeconds),
    ...exactly("tcp_timeout_close_wait", conntrack.tcpCloseWaitSeconds),
    ...exactly("udp_timeout", conntrack.udpSeconds),
    ...exactly("udp_timeout_stream", conntrack.udpStreamSeconds),
    // Also where the file does not ask for it: a packet out of its window would leave without its address translated, and the client
    // would be reset. kube-proxy's iptables mode drops such packets instead, which needs a rule for all traffic (kubernetes#74839).
    { path: `${netfilter}_tcp_be_liberal`, value: 1, isMinimum: false },
  ];
}

/** Makes the settings one after another; never rejects. */
export async function applyKernelSettings(
  settings: readonly KernelSetting[],
  files: KernelFiles,
): Promise<readonly KernelSettingOutcome[]> {
  const outcomes: KernelSettingOutcome[] = [];
  for (const setting of settings) outcomes.push(await applyOne(setting, files));
  return outcomes;
}

/** What to tell about settings that could not be made; undefined when all are as wanted. */
export function describeRefusals(outcomes: readonly KernelSettingOutcome[]): string | undefined {
  const refused = outcomes.filter((outcome) => outcome.type === "refused");
  if (refused.length === 0) return undefined;
  const named = refused.map(({ setting, message }) => `${setting.path}=${setting.value} (${message})`);
  return `kernel settings that could not be made; set them on the node: ${named.join(", ")}`;
}

async function applyOne(setting: KernelSetting, files: KernelFiles): Promise<KernelSettingOutcome> {
  try {
    const current = Number((await files.read(setting.path)).trim());
    if (current === setting.value || (setting.isMinimum && current >= setting.value)) return { type: "kept", setting };
    await files.write(setting.path, String(setting.value));
    return { type: "written", setting };
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : String(thrown);
    return { type: "refused", setting, message: code };
  }
}
