import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UploadSpool } from "#agent/requests/upload-spool.ts";
import type { UploadMessage } from "#agent/requests/upload-spool.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "spool-"));
});
afterEach(() => rm(directory, { recursive: true }));

const messageBytes = 64 << 10;

/** A message that says its number. */
function message(number: number): UploadMessage {
  const payload = new Uint8Array(messageBytes);
  new DataView(payload.buffer).setUint32(0, number);
  return { payload, text: number % 2 === 1 };
}

function numberOf({ payload }: UploadMessage): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

/** Pushes `count` messages as fast as they are taken. */
async function pushAll(spool: UploadSpool, count: number): Promise<void> {
  for (let number = 0; number < count; number++) await new Promise<void>((taken) => spool.push(message(number), taken));
}

test("gives every message to a target that is slow, in order and unchanged, from memory and from the file", async () => {
  const got: [number, boolean][] = [];
  const held: (() => void)[] = [];
  let isSlow = true;
  const spool = new UploadSpool({
    directory,
    onFailure: (error) => {
      throw error;
    },
    target: (given, written) => {
      got.push([numberOf(given), given.text]);
      if (isSlow) held.push(written);
      else queueMicrotask(written);
    },
  });
  const count = (24 << 20) / messageBytes;
  await pushAll(spool, count);
  expect(got.length).toBeLessThan(count / 4);
  isSlow = false;
  const finished = new Promise<void>((resolve) => spool.finish(resolve));
  for (const written of held.splice(0)) written();
  await finished;
  expect(got).toEqual(Array.from({ length: count }, (_, number) => [number, number % 2 === 1]));
  spool.close();
});

test("leaves no file behind, not even while it is in use", async () => {
  const spool = new UploadSpool({ directory, onFailure: () => undefined, target: () => undefined });
  await pushAll(spool, (12 << 20) / messageBytes);
  expect(await readdir(directory)).toEqual([]);
  spool.close();
});

test("counts tiny messages for what keeping them costs: a target that is stalled is given few, and the rest waits outside the memory", async () => {
  let given = 0;
  const spool = new UploadSpool({ directory: tmpdir(), target: () => (given += 1), onFailure: () => undefined });
  const taken = Promise.withResolvers<void>();
  let count = 0;
  for (let index = 0; index < 100_000; index++)
    spool.push({ payload: new Uint8Array(1), text: false }, () => {
      count += 1;
      if (count === 100_000) taken.resolve();
    });
  await taken.promise;
  expect(given).toBeLessThan(10_000);
  spool.close();
});

test("tells when the disk cannot take what does not fit in memory", async () => {
  const failed = Promise.withResolvers<unknown>();
  const spool = new UploadSpool({ directory: join(directory, "missing"), onFailure: failed.resolve, target: () => undefined });
  for (let number = 0; number < (16 << 20) / messageBytes; number++) spool.push(message(number), () => undefined);
  expect(await failed.promise).toMatchObject({ code: "ENOENT" });
  spool.close();
});

test("takes nothing more once it is closed, and holds nobody up", async () => {
  const spool = new UploadSpool({ directory, onFailure: () => undefined, target: () => expect.unreachable() });
  spool.close();
  await pushAll(spool, 3);
});
