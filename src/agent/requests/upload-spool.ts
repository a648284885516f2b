/**
 * What a user uploads into a WebSocket faster than the target takes it waits here: in memory first, then in a file without a name. A
 * Worker cannot stop reading a client's WebSocket and has little memory, so the agent takes uploads as fast as the tunnel brings them.
 * Order is kept: once something is in the file, all that follows goes there until the file is empty.
 */
import { randomUUID } from "node:crypto";
import { open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";

/** Bytes of one upload kept in memory: what arrives in the time that a disk takes to answer. */
const maxMemoryBytes = 8 << 20;

/** Bytes of one upload kept on disk; beyond it the user waits, and then the gateway's own limit ends the upload. */
const maxFileBytes = 4 * 1024 ** 3;

/** Messages of one upload on disk: its largest size in the pieces that kubectl sends. */
const maxStoredParts = 1 << 17;

/** What keeping a message costs beside its bytes: many tiny ones must not fill the memory. */
const partCostBytes = 256;

/** Bytes given to the target before it has taken them. */
const maxOutstandingBytes = 1 << 20;

/** One message. */
export interface UploadMessage {
  readonly payload: Uint8Array;
  readonly text: boolean;
}

/** Where parts go; `written` is called when one has left. */
export type UploadTarget = (part: UploadMessage, written: () => void) => void;

interface Stored {
  readonly offset: number;
  readonly length: number;
  readonly text: boolean;
}

export interface UploadSpoolOptions {
  readonly directory: string;
  readonly target: UploadTarget;
  /** The file could not be used: the upload cannot go on. */
  readonly onFailure: (error: unknown) => void;
}

export class UploadSpool {
  readonly #options: UploadSpoolOptions;
  #memory: UploadMessage[] = [];
  #memoryBytes = 0;
  #stored: Stored[] = [];
  #fileBytes = 0;
  #writeOffset = 0;
  #file: FileHandle | undefined;
  /** File operations, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #pendingFileWork = 0;
  #outstandingBytes = 0;
  #onEmpty: (() => void) | undefined;
  #closed = false;

  constructor(options: UploadSpoolOptions) {
    this.#options = options;
  }

  /** Takes a part; `taken` is called once it is safe here or has gone on, so that the user may send more. */
  push(part: UploadMessage, taken: () => void): void {
    if (this.#closed) return taken();
    if (this.#usesFile || this.#memoryBytes + costOf(part) > maxMemoryBytes) {
      this.#schedule(() => this.#store(part, taken));
      return;
    }
    this.#memory.push(part);
    this.#memoryBytes += costOf(part);
    taken();
    this.#advance();
  }

  /** Calls back when everything that was pushed has been given to the target. */
  finish(done: () => void): void {
    this.#onEmpty = done;
    this.#advance();
  }

  /** Forgets everything. */
  close(): void {
    this.#closed = true;
    this.#memory = [];
    this.#stored = [];
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) void this.#work.finally(() => void file.close().catch(() => undefined)); // the file has no name any more
  }

  get #usesFile(): boolean {
    return this.#pendingFileWork > 0 || this.#stored.length > 0;
  }

  #advance(): void {
    while (!this.#closed && this.#outstandingBytes < maxOutstandingBytes) {
      const part = this.#memory.shift();
      if (part === undefined) break;
      this.#memoryBytes -= costOf(part);
      this.#give(part);
    }
    if (this.#closed || this.#memory.length > 0) return;
    if (this.#stored.length > 0 && this.#outstandingBytes < maxOutstandingBytes) this.#schedule(() => this.#load());
    else if (!this.#usesFile) this.#settle();
  }

  #settle(): void {
    const done = this.#onEmpty;
    this.#onEmpty = undefined;
    done?.();
  }

  #give(part: UploadMessage): void {
    this.#outstandingBytes += costOf(part);
    this.#options.target(part, () => {
      this.#outstandingBytes -= costOf(part);
      this.#advance();
    });
  }

  #schedule(work: () => Promise<void>): void {
    this.#pendingFileWork += 1;
    this.#work = this.#work
      .then(async () => {
        if (!this.#closed) await work();
      })
      .catch((error: unknown) => this.#options.onFailure(error))
      .finally(() => {
        this.#pendingFileWork -= 1;
        if (this.#pendingFileWork === 0) this.#advance();
      });
  }

  async #store(part: UploadMessage, taken: () => void): Promise<void> {
    this.#file ??= await openNameless(this.#options.directory);
    if (this.#fileBytes + part.payload.length > maxFileBytes || this.#stored.length >= maxStoredParts)
      throw new Error("the upload's file is full");
    await this.#file.write(part.payload, 0, part.payload.length, this.#writeOffset);
    this.#stored.push({ offset: this.#writeOffset, length: part.payload.length, text: part.text });
    this.#writeOffset += part.payload.length;
    this.#fileBytes += part.payload.length;
    taken();
  }

  /** Brings parts back from the file into memory, up to what the target may be given. */
  async #load(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    let bytes = 0;
    while (bytes < maxOutstandingBytes) {
      const stored = this.#stored.shift();
      if (stored === undefined) break;
      const payload = new Uint8Array(stored.length);
      await file.read(payload, 0, stored.length, stored.offset);
      bytes += stored.length + partCostBytes;
      this.#fileBytes -= stored.length;
      this.#memory.push({ payload, text: stored.text });
      this.#memoryBytes += stored.length + partCostBytes;
    }
    if (this.#stored.length === 0) this.#writeOffset = 0;
  }
}

function costOf(part: UploadMessage): number {
  return part.payload.length + partCostBytes;
}

/** A file that only this process can reach, and that is gone with it. */
async function openNameless(directory: string): Promise<FileHandle> {
  const path = join(directory, `sallyport-upload-${randomUUID()}`);
  const file = await open(path, "wx+", 0o600);
  await unlink(path);
  return file;
}
