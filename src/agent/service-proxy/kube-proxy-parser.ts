import { isIPv4, isIPv6 } from "node:net";
import type { Fields, Place, YamlReader } from "#identity/yaml-reader.ts";
import { familyOf, isCidr, parseDuration, parseListenAddress } from "./address-text.ts";
import type {
  ConntrackSettings,
  KubeProxyConfiguration,
  KubeProxyMode,
  ListenAddress,
  LocalTraffic,
  NodePortSetting,
} from "./kube-proxy-configuration.ts";

/** kube-proxy's ports. */
const healthzPort = 10_256;
const metricsPort = 10_249;
/** kube-proxy's defaults, in milliseconds and seconds. */
const defaultSyncMs = 30_000;
const defaultEstablishedSeconds = 86_400;
const defaultCloseWaitSeconds = 3_600;
/** Which bit of the packet mark kube-proxy uses. */
const defaultMasqueradeBit = 14;

const topFields = [
  "apiVersion",
  "kind",
  "featureGates",
  "clientConnection",
  "logging",
  "hostnameOverride",
  "bindAddress",
  "healthzBindAddress",
  "metricsBindAddress",
  "bindAddressHardFail",
  "enableProfiling",
  "showHiddenMetricsForVersion",
  "mode",
  "iptables",
  "ipvs",
  "nftables",
  "winkernel",
  "detectLocalMode",
  "detectLocal",
  "clusterCIDR",
  "nodePortAddresses",
  "oomScoreAdj",
  "conntrack",
  "configSyncPeriod",
  "portRange",
  "windowsRunAsService",
  // Of earlier releases, which kube-proxy still takes with a warning.
  "udpIdleTimeout",
  "resourceContainer",
];

/** Fields whose meaning ends with kube-proxy's own process, its client or its other platforms. */
const fieldsWithoutMeaning = [
  "logging",
  "enableProfiling",
  "showHiddenMetricsForVersion",
  "winkernel",
  "oomScoreAdj",
  "configSyncPeriod",
  "portRange",
  "windowsRunAsService",
  "udpIdleTimeout",
  "resourceContainer",
];

/** Gates that are on, and that this proxy cannot turn off: traffic would go another way than the file asks for. */
const gatesThatStayOn = new Set([
  "LoadBalancerIPMode",
  "MultiCIDRServiceAllocator",
  "PreferSameTrafficDistribution",
  "ProxyTerminatingEndpoints",
  "ServiceInternalTrafficPolicy",
  "ServiceTrafficDistribution",
  "TopologyAwareHints",
]);
const externalIpsGate = "AllowServiceExternalIPs";
const localhostNodePortsGate = "KubeProxyNFTablesLocalhostNodePorts";

/** What the section of the chosen mode says. */
interface ModeSettings {
  readonly syncMs: number;
  readonly minSyncMs: number | undefined;
  readonly masqueradeAll: boolean;
  readonly masqueradeBit: number;
  readonly localhostNodePorts: boolean;
}

/** Reads a KubeProxyConfiguration's fields; problems go to the reader. */
export class KubeProxyParser {
  readonly #reader: YamlReader;
  readonly #unused: { readonly offset: number; readonly name: string }[] = [];

  constructor(reader: YamlReader) {
    this.#reader = reader;
  }

  parse(root: Place): KubeProxyConfiguration {
    const reader = this.#reader;
    const fields = reader.fields(root, topFields);
    if (reader.text(fields("apiVersion")) !== "kubeproxy.config.k8s.io/v1alpha1")
      reader.add(fields("apiVersion"), "this must be kubeproxy.config.k8s.io/v1alpha1");
    if (reader.text(fields("kind")) !== "KubeProxyConfiguration") reader.add(fields("kind"), "this must be KubeProxyConfiguration");
    for (const name of fieldsWithoutMeaning) this.#noteUnused(fields(name));
    const mode = this.#mode(fields("mode"));
    const bindAddress = this.#address(fields("bindAddress"));
    const isIpv6 = bindAddress !== undefined && familyOf(bindAddress) === "IPv6";
    const gates = this.#gates(fields("featureGates"));
    const settings = this.#modeSettings(mode, fields, gates);
    return {
      mode,
      kubeconfig: this.#kubeconfig(fields("clientConnection")),
      hostnameOverride: reader.text(fields("hostnameOverride")).trim().toLowerCase() || undefined,
      nodeAddress: bindAddress === undefined || ["0.0.0.0", "::"].includes(bindAddress) ? undefined : bindAddress,
      healthz: this.#listen(fields("healthzBindAddress"), { host: isIpv6 ? "::" : "0.0.0.0", port: healthzPort }),
      metrics: this.#listen(fields("metricsBindAddress"), { host: isIpv6 ? "::1" : "127.0.0.1", port: metricsPort }),
      bindAddressHardFail: reader.truth(fields("bindAddressHardFail")),
      ...settings,
      localTraffic: this.#localTraffic(fields),
      nodePorts: this.#nodePorts(fields("nodePortAddresses"), mode),
      externalIps: gates.get(externalIpsGate) === false ? "ignore" : "serve",
      conntrack: this.#conntrack(fields("conntrack")),
      unused: this.#unused.toSorted((left, right) => left.offset - right.offset).map(({ name }) => name),
    };
  }

  #noteUnused(place: Place): void {
    if (this.#reader.isSet(place)) this.#unused.push({ offset: place.offset, name: place.path });
  }

  #mode(place: Place): KubeProxyMode {
    const mode = this.#reader.text(place);
    if (mode === "iptables" || mode === "ipvs" || mode === "nftables") return mode;
    if (mode !== "") this.#reader.add(place, "this must be iptables, ipvs, nftables or blank; other modes are not for Linux");
    return "iptables";
  }

  /** The sections of the other modes are read all the same: kube-proxy refuses what is wrong in them. */
  #modeSettings(mode: KubeProxyMode, fields: Fields, gates: ReadonlyMap<string, boolean>): ModeSettings {
    const iptables = this.#filterSection(fields("iptables"), ["localhostNodePorts"]);
    const nftables = this.#filterSection(fields("nftables"), []);
    const ipvs = this.#ipvsSection(fields("ipvs"), mode);
    switch (mode) {
      case "iptables":
        return iptables;
      case "nftables":
        return { ...nftables, localhostNodePorts: gates.get(localhostNodePortsGate) !== false };
      case "ipvs":
        // kube-proxy's ipvs mode takes what is about masquerading from the section of iptables.
        return { ...iptables, ...ipvs, localhostNodePorts: false };
    }
  }

  /** The sections iptables and nftables. */
  #filterSection(place: Place, more: readonly string[]): ModeSettings {
    const reader = this.#reader;
    const fields = reader.fields(place, ["masqueradeBit", "masqueradeAll", "syncPeriod", "minSyncPeriod", ...more]);
    const bit = reader.optionalInteger(fields("masqueradeBit"));
    if (bit !== undefined && (bit < 0 || bit > 31)) reader.add(fields("masqueradeBit"), "this must be a bit of the packet mark, 0 to 31");
    const localhost = fields("localhostNodePorts");
    return {
      ...this.#periods(fields),
      masqueradeAll: reader.truth(fields("masqueradeAll")),
      masqueradeBit: bit ?? defaultMasqueradeBit,
      localhostNodePorts: localhost.node === undefined || reader.truth(localhost),
    };
  }

  #ipvsSection(place: Place, mode: KubeProxyMode): Pick<ModeSettings, "syncMs" | "minSyncMs"> {
    const reader = this.#reader;
    const names = ["syncPeriod", "minSyncPeriod", "scheduler", "excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout"];
    const fields = reader.fields(place, names);
    const scheduler = reader.text(fields("scheduler"));
    if (mode === "ipvs" && scheduler !== "" && scheduler !== "rr") {
      reader.add(
        fields("scheduler"),
        `"${scheduler}" spreads connections in a way that this proxy does not know; it chooses at random. Remove the field if that will do`,
      );
    }
    for (const element of reader.elements(fields("excludeCIDRs"))) this.#cidr(element);
    for (const name of ["tcpTimeout", "tcpFinTimeout", "udpTimeout"]) this.#duration(fields(name));
    for (const name of ["excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout"]) this.#noteUnused(fields(name));
    return this.#periods(fields);
  }

  #periods(fields: Fields): Pick<ModeSettings, "syncMs" | "minSyncMs"> {
    const syncMs = this.#duration(fields("syncPeriod")) || defaultSyncMs;
    const minSyncMs = this.#duration(fields("minSyncPeriod")) || undefined;
    if (minSyncMs !== undefined && minSyncMs > syncMs) this.#reader.add(fields("minSyncPeriod"), "this must not be longer than syncPeriod");
    return { syncMs, minSyncMs };
  }

  #kubeconfig(place: Place): string | undefined {
    const fields = this.#reader.fields(place, ["kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"]);
    for (const name of ["acceptContentTypes", "contentType", "qps", "burst"]) this.#noteUnused(fields(name));
    return this.#reader.text(fields("kubeconfig")) || undefined;
  }

  #gates(place: Place): ReadonlyMap<string, boolean> {
    const names = this.#reader.names(place);
    const fields = this.#reader.fields(place, names);
    const gates = new Map(names.map((name) => [name, this.#reader.truth(fields(name))]));
    for (const [name, isOn] of gates) {
      if (gatesThatStayOn.has(name) && !isOn) {
        this.#reader.add(fields(name), "this proxy cannot turn it off, and traffic would go another way than without it; remove the gate");
      } else if (!gatesThatStayOn.has(name) && name !== externalIpsGate && name !== localhostNodePortsGate) {
        this.#unused.push({ offset: fields(name).offset, name: fields(name).path });
      }
    }
    return gates;
  }

  #localTraffic(fields: Fields): LocalTraffic {
    const reader = this.#reader;
    const detect = reader.fields(fields("detectLocal"), ["bridgeInterface", "interfaceNamePrefix"]);
    const cidrs = this.#clusterCidrs(fields("clusterCIDR"));
    const needed = (name: string): string => {
      const text = reader.text(detect(name));
      if (text === "") reader.add(detect(name), "detectLocalMode needs it");
      else if (!/^[^\s/:]{1,15}$/.test(text)) reader.add(detect(name), "this is not the name of a network interface");
      return text;
    };
    switch (reader.text(fields("detectLocalMode"))) {
      case "":
      case "ClusterCIDR":
        return cidrs.length === 0 ? { type: "none" } : { type: "cidrs", cidrs };
      case "NodeCIDR":
        return { type: "nodeCidrs" };
      case "BridgeInterface":
        return { type: "bridge", interface: needed("bridgeInterface") };
      case "InterfaceNamePrefix":
        return { type: "interfacePrefix", prefix: needed("interfaceNamePrefix") };
      default:
        reader.add(fields("detectLocalMode"), "this must be ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or blank");
        return { type: "none" };
    }
  }

  #clusterCidrs(place: Place): readonly string[] {
    const text = this.#reader.text(place);
    const cidrs = text === "" ? [] : text.split(",").map((part) => part.trim());
    const families = new Set(cidrs.map(familyOf));
    if (!cidrs.every(isCidr) || families.size !== cidrs.length)
      this.#reader.add(place, "this must be a range such as 10.244.0.0/16, or one of each family with a comma between them");
    return cidrs;
  }

  #nodePorts(place: Place, mode: KubeProxyMode): NodePortSetting {
    const places = this.#reader.elements(place);
    const texts = places.map((element) => this.#reader.text(element));
    if (texts.length === 0) return mode === "nftables" ? { type: "primary" } : { type: "all" };
    if (texts.includes("primary")) {
      if (texts.length > 1) this.#reader.add(place, '"primary" stands alone; remove it or the ranges');
      return { type: "primary" };
    }
    for (const element of places) this.#cidr(element);
    return { type: "cidrs", cidrs: texts };
  }

  #conntrack(place: Place): ConntrackSettings {
    const reader = this.#reader;
    const names = ["maxPerCore", "min", "tcpEstablishedTimeout", "tcpCloseWaitTimeout", "tcpBeLiberal", "udpTimeout", "udpStreamTimeout"];
    const fields = reader.fields(place, names);
    const count = (name: string, fallback: number): number => {
      const value = reader.optionalInteger(fields(name));
      if (value !== undefined && value < 0) reader.add(fields(name), "this must not be negative; 0 leaves the kernel's value");
      return value ?? fallback;
    };
    const seconds = (name: string, fallback: number): number => {
      const ms = this.#duration(fields(name));
      return ms === undefined ? fallback : Math.floor(ms / 1000);
    };
    return {
      maxPerCore: count("maxPerCore", 32 << 10),
      min: count("min", 128 << 10),
      tcpEstablishedSeconds: seconds("tcpEstablishedTimeout", defaultEstablishedSeconds),
      tcpCloseWaitSeconds: seconds("tcpCloseWaitTimeout", defaultCloseWaitSeconds),
      udpSeconds: seconds("udpTimeout", 0),
      udpStreamSeconds: seconds("udpStreamTimeout", 0),
      tcpBeLiberal: reader.truth(fields("tcpBeLiberal")),
    };
  }

  #duration(place: Place): number | undefined {
    const text = this.#reader.optionalText(place);
    if (text === undefined) return undefined;
    const ms = parseDuration(text);
    if (ms === undefined) this.#reader.add(place, "this must be a duration such as 30s or 1h30m, and not negative");
    return ms;
  }

  #cidr(place: Place): void {
    if (!isCidr(this.#reader.text(place))) this.#reader.add(place, "this must be an address range, such as 10.0.0.0/8");
  }

  #address(place: Place): string | undefined {
    const text = this.#reader.text(place);
    if (text === "") return undefined;
    if (!isIPv4(text) && !isIPv6(text)) this.#reader.add(place, "this must be an IP address");
    return text;
  }

  #listen(place: Place, fallback: ListenAddress): ListenAddress {
    const text = this.#reader.text(place);
    if (text === "") return fallback;
    const address = parseListenAddress(text, fallback.port);
    if (address === undefined) this.#reader.add(place, "this must be an IP address, or one with a port such as 0.0.0.0:10256");
    return address ?? fallback;
  }
}
