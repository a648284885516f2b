/** Dials an apiserver for the balancer: TCP alone, since TLS is between its client and the apiserver. */
import { connect } from "node:net";
import type { Socket } from "node:net";

/** Opens a connection whose ends may end one by one. */
export function dialTcp(host: string, port: number): Socket {
  return connect({ host, port, allowHalfOpen: true });
}
