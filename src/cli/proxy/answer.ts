/** The proxy's own answers: plain text, as Go's `http.Error` writes them, so that what reads kubectl proxy's reads these. */
import type { ServerResponse } from "node:http";

/** Ends a response with a line of text; cuts it off when its head has gone out already. */
export function answerText(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = `${text}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

/** Redirects with the method kept, as Go 1.26 and so kubectl 1.36 and later do; earlier ones said 301. */
export function answerRedirect(response: ServerResponse, location: string): void {
  response.writeHead(307, { location, "content-length": 0 }).end();
}
