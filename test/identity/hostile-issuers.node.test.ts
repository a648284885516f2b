import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { createRemoteKeys, type RemoteKeysOptions } from "#identity/keys.ts";
import { keyLimits } from "#identity/limits.ts";
import { issuerUrl, makeKey, nowMs, type SigningKey } from "#test/identity/makers.ts";

let key: SigningKey;
let server: Server | undefined;

beforeAll(async () => {
  key = await makeKey("k");
});

afterEach(() => {
  server?.close();
  server?.closeAllConnections();
});

type Answer = (response: ServerResponse) => void;

/** Serves discovery well and keys badly, over a real connection. */
async function startIssuer(
  answerKeys: Answer,
): Promise<{ readonly options: RemoteKeysOptions; readonly requests: string[]; readonly expire: () => void }> {
  const requests: string[] = [];
  const deadline = new AbortController();
  server = createServer((request, response) => {
    requests.push(request.url ?? "");
    if (request.url === "/keys") return answerKeys(response);
    return response.end(JSON.stringify({ issuer: issuerUrl, jwks_uri: "https://issuer.test/keys" }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address is never a path.
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const options: RemoteKeysOptions = {
    issuerUrl,
    discoveryUrl: undefined,
    fetch: (url, init) => fetch(url.replace("https://issuer.test", origin), init),
    clock: () => nowMs,
    createDeadline: () => deadline.signal,
    flight: "shared",
  };
  return { options, requests, expire: () => deadline.abort() };
}

async function lookUp(options: RemoteKeysOptions): Promise<unknown> {
  return await createRemoteKeys(options).find({ keyId: "k", algorithm: "ES256" });
}

describe("an issuer that answers the request for its keys", () => {
  const answers: readonly (readonly [string, Answer, string])[] = [
    ["with status 500", (response) => response.writeHead(500).end("{}"), "status 500"],
    ["with a redirect", (response) => response.writeHead(302, { location: "/elsewhere" }).end(), "status 302"],
    ["with HTML", (response) => response.end("<html><body>Sign in</body></html>"), "cannot be read"],
    ["with nothing", (response) => response.end(), "cannot be read"],
    ["with status 204", (response) => response.writeHead(204).end(), "status 204"],
    ["by closing the connection", (response) => response.destroy(), "cannot be reached"],
    ["with 50 MB", sendEndlessly, "larger than"],
  ];

  it.each(answers)("%s gives no keys, and says why", async (_, answer, message) => {
    const { options, requests } = await startIssuer(answer);
    expect(await lookUp(options)).toEqual({ type: "unavailable", message: expect.stringContaining(message) });
    expect(requests).not.toContain("/elsewhere");
  });

  it("never is given up at the deadline", async () => {
    const arrived = Promise.withResolvers<void>();
    const { options, expire } = await startIssuer(() => arrived.resolve());
    const lookup = lookUp(options);
    await arrived.promise;
    expire();
    expect(await lookup).toEqual({ type: "unavailable", message: expect.stringContaining("within 5 seconds") });
  });

  it("byte by byte is given up at the deadline", async () => {
    const arrived = Promise.withResolvers<void>();
    const { options, expire } = await startIssuer((response) => {
      response.write("{", () => arrived.resolve());
    });
    const lookup = lookUp(options);
    await arrived.promise;
    expire();
    expect(await lookup).toEqual({ type: "unavailable", message: expect.stringContaining("within 5 seconds") });
  });

  it("asks for a deadline of five seconds", async () => {
    const deadlines: number[] = [];
    const { options } = await startIssuer((response) => response.end(JSON.stringify({ keys: [key.jwk] })));
    const createDeadline = (ms: number): AbortSignal => {
      deadlines.push(ms);
      return new AbortController().signal;
    };
    expect(await lookUp({ ...options, createDeadline })).toMatchObject({ type: "found" });
    expect(deadlines).toEqual([keyLimits.fetchTimeoutMs]);
  });
});

/** Sends spaces until nobody listens any more, at most 50 MB. */
function sendEndlessly(response: ServerResponse): void {
  const chunk = " ".repeat(1024 * 1024);
  let left = 50;
  response.on("error", () => undefined);
  const send = (): void => {
    left -= 1;
    if (left < 0 || response.destroyed) response.end();
    else response.write(chunk, send);
  };
  send();
}
