/** The PROXY protocol's header (haproxy.org/download/2.9/doc/proxy-protocol.txt), by which a pod learns who its client is. */
import type { IpFamily, ProxyProtocol } from "#agent/dataplane/dataplane.ts";

/** The two ends of the client's connection. */
export interface ConnectionEnds {
  readonly family: IpFamily;
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly frontendAddress: string;
  readonly frontendPort: number;
}

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const versionAndProxy = 0x21;
const tcpOverIpv4 = 0x11;
const tcpOverIpv6 = 0x21;

/** The bytes to send before the client's own; empty where there is nothing to say. */
export function encodeProxyHeader(version: ProxyProtocol, ends: ConnectionEnds): Buffer {
  switch (version) {
    case "none":
      return Buffer.alloc(0);
    case "v1": {
      const protocol = ends.family === "IPv4" ? "TCP4" : "TCP6";
      const { clientAddress, clientPort, frontendAddress, frontendPort } = ends;
      return Buffer.from(`PROXY ${protocol} ${clientAddress} ${frontendAddress} ${clientPort} ${frontendPort}\r\n`, "latin1");
    }
    case "v2":
      return encodeBinary(ends);
  }
}

function encodeBinary({ family, clientAddress, clientPort, frontendAddress, frontendPort }: ConnectionEnds): Buffer {
  const toBytes = family === "IPv4" ? ipv4Bytes : ipv6Bytes;
  const addresses = Buffer.concat([toBytes(clientAddress), toBytes(frontendAddress)]);
  const header = Buffer.alloc(signature.length + 4);
  signature.copy(header);
  header[signature.length] = versionAndProxy;
  header[signature.length + 1] = family === "IPv4" ? tcpOverIpv4 : tcpOverIpv6;
  header.writeUInt16BE(addresses.length + 4, signature.length + 2);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(clientPort, 0);
  ports.writeUInt16BE(frontendPort, 2);
  return Buffer.concat([header, addresses, ports]);
}

function ipv4Bytes(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

/** A dotted end (::ffff:192.0.2.1) counts as two groups. */
function ipv6Bytes(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  const [head = "", tail] = address.split("::");
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  before.forEach((group, index) => bytes.writeUInt16BE(group, 2 * index));
  after.forEach((group, index) => bytes.writeUInt16BE(group, 16 - 2 * (after.length - index)));
  return bytes;
}

function groups(text: string): readonly number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (!group.includes(".")) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}
