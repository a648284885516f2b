/** The sockets that lead out of the userspace dataplane: this is its only file that dials. It takes addresses, never names. */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { connect, isIP, type Socket } from "node:net";
import type { Clock } from "#agent/clock.ts";
import type { Endpoint, IpFamily } from "#agent/dataplane/dataplane.ts";
import { dialTimeoutMs, readBufferBytes, tcpKeepAliveMs } from "./limits.ts";

/**
 * A connection to an endpoint. Its bytes are read into one buffer, again and again, rather than into a new one each time: that halves the
 * CPU time of a download. So a chunk is good only until `take` returns, or where that is false, until the socket is resumed.
 */
export interface Upstream {
  readonly socket: Socket;
  /** Gets the bytes; says whether more may be read at once. To be set before the event loop turns. */
  take: (chunk: Buffer) => boolean;
}

/** How a dial ended. */
export type DialResult = { readonly type: "connected"; readonly upstream: Upstream } | { readonly type: "failed"; readonly reason: string };

/** Makes sockets; a parameter of the dataplane, so that tests decide what an endpoint does. */
export interface Sockets {
  /** Connects to an endpoint within the dial's time. Never rejects. */
  dial(endpoint: Endpoint): Promise<DialResult>;
  /** A UDP socket that is bound to nothing yet. */
  datagram(family: IpFamily): DatagramSocket;
}

/** The machine's own sockets. */
export function createSockets(clock: Clock): Sockets {
  return { dial: (endpoint) => dial(endpoint, clock), datagram };
}

async function dial({ address, port }: Endpoint, clock: Clock): Promise<DialResult> {
  if (isIP(address) === 0 || !Number.isInteger(port) || port < 1 || port > 65_535)
    return { type: "failed", reason: `${address} port ${port} is no endpoint` };
  const upstream = openUpstream(address, port);
  const { socket } = upstream;
  return new Promise((resolve) => {
    const fail = (reason: string): void => {
      socket.destroy();
      resolve({ type: "failed", reason });
    };
    const cancel = clock.after(dialTimeoutMs, () => fail(`no answer within ${dialTimeoutMs} ms`));
    // Stays for the connection's life: an error that nobody listens to would end the process.
    socket.on("error", (error) => {
      cancel();
      fail(error.message);
    });
    socket.once("connect", () => {
      cancel();
      if (isConnectedToItself(socket)) fail("nobody listens there");
      else resolve({ type: "connected", upstream });
    });
  });
}

/**
 * At an address of the machine's own, a port where nobody listens may be the very one that the kernel chose for our side. TCP then connects
 * the socket with itself (RFC 9293, section 3.5, simultaneous open), and a client would hear its own bytes.
 */
function isConnectedToItself({ localAddress, localPort, remoteAddress, remotePort }: Socket): boolean {
  return localPort === remotePort && localAddress === remoteAddress;
}

function openUpstream(host: string, port: number): Upstream {
  const common = { host, port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: tcpKeepAliveMs };
  const callback = (bytes: number, buffer: Uint8Array): boolean => upstream.take(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
  // Memory of its own that is not there until bytes come, unlike a piece of the pool.
  const socket = connect({ ...common, onread: { buffer: Buffer.allocUnsafeSlow(readBufferBytes), callback } });
  const upstream: Upstream = { socket, take: () => false };
  return upstream;
}

function datagram(family: IpFamily): DatagramSocket {
  const isIpv6 = family === "IPv6";
  return createSocket({
    type: isIpv6 ? "udp6" : "udp4",
    ipv6Only: isIpv6,
    // Only addresses come here. Node's own lookup would wait a turn of the event loop for each datagram.
    lookup: (address, _options, callback) => callback(null, address, isIpv6 ? 6 : 4),
  });
}
