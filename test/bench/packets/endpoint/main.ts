/** Answers each connection with the address that it came to, so that a client knows which endpoint it has reached. */
import { createServer } from "node:net";

const port = 8080;

const server = createServer((socket) => {
  // The client ends it.
  socket.on("error", () => undefined);
  socket.write(`${socket.localAddress?.replace("::ffff:", "")}\n`);
});
server.listen(port, "0.0.0.0", () => process.stdout.write(`${JSON.stringify({ ready: true })}\n`));
