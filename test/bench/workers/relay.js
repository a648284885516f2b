/** What the platform carries with nothing of ours in between: a Durable Object that hands each message of one WebSocket to the other. */
import { DurableObject } from "cloudflare:workers";

export class Relay extends DurableObject {
  #peers = new Map();

  fetch(request) {
    const role = new URL(request.url).searchParams.get("role");
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [role]);
    server.serializeAttachment(role === "source" ? "sink" : "source");
    this.#peers.clear();
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    let peer = this.#peers.get(socket);
    if (peer === undefined) {
      peer = this.ctx.getWebSockets(socket.deserializeAttachment())[0];
      this.#peers.set(socket, peer);
    }
    peer.send(message);
  }

  webSocketClose(socket) {
    this.#peers.clear();
    socket.close(1000);
  }
}

export default {
  fetch: (request, env) => env.RELAY.getByName("relay").fetch(request),
};
