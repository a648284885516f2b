import { expect, test } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { ClientSocket } from "#workers/hub/client-socket.ts";
import type { ContentListener, UserStream } from "#workers/hub/user-stream.ts";

/** A stream whose agent gives no credit: everything that is written waits. */
class StalledStream {
  queuedCost = 0;
  queuedPieces = 0;
  #listener: ContentListener | undefined;

  listen(listener: ContentListener): void {
    this.#listener = listener;
  }

  write(payload: Uint8Array): void {
    this.queuedCost += payload.length;
    this.queuedPieces += 1;
  }

  fail(code: "TOO_LARGE", message: string): void {
    this.#listener?.take({ type: "failed", error: new GatewayError(code, message), code });
  }

  cancel(): void {}
  finish(): void {}
  consumed(): void {}
}

async function upload(message: string, count: number) {
  const stream = new StalledStream();
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  client.accept();
  const ended = new Promise<{ code: number; reason: string }>((resolve) =>
    client.addEventListener("close", ({ code, reason }) => resolve({ code, reason })),
  );
  const outcome = new ClientSocket({
    stream: stream as unknown as UserStream, // all of it that a client's socket uses
    socket: server,
    maxWaitingUploadBytes: 1 << 20,
    farewell: (error) => ({ messages: [], code: 1011, reason: error.message }),
    onUpload: () => undefined,
    onExtend: () => undefined,
    onEnd: () => undefined,
  });
  expect(outcome).toBeDefined();
  for (let index = 0; index < count; index++) client.send(message);
  return { stream, ended };
}

test("an upload that outruns its agent ends when too many bytes wait", async () => {
  const { ended } = await upload("x".repeat(1 << 16), 20);
  expect(await ended).toMatchObject({ code: 1011, reason: expect.stringContaining("outran the tunnel by more than 1 MiB") });
});

test("an upload of tiny messages that outruns its agent ends when too many messages wait, however few bytes they are", async () => {
  const { ended, stream } = await upload("", 70_000);
  expect(await ended).toMatchObject({ code: 1011, reason: expect.stringContaining("65536 messages") });
  expect(stream.queuedPieces).toBe(65_537);
});
