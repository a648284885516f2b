/** What a program sees of the world: its start, its streams, its terminal's size, and the container's files. */
import type { FileAnswer, FileQuestion, FromProgram, ProgramStart, ToProgram } from "./messages.ts";

type Unnumbered<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

/** The connection of a program to the kubelet. */
export class Host {
  readonly start: ProgramStart;
  readonly #waiting = new Map<number, (answer: FileAnswer) => void>();
  #nextId = 0;
  size = { columns: 80, rows: 24 };

  constructor(start: ProgramStart) {
    this.start = start;
    process.on("message", (message: ToProgram) => this.#take(message));
  }

  /** Tells the kubelet which real port stands for a container port. */
  listening(containerPort: number, port: number): void {
    this.#send({ type: "listening", containerPort, port });
  }

  /** Asks the kubelet about the container's files. */
  ask(question: Unnumbered<FileQuestion>): Promise<FileAnswer> {
    this.#nextId += 1;
    const id = this.#nextId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#send({ ...question, id });
    });
  }

  /** Resolves when everything that was written has left the process. */
  async flush(): Promise<void> {
    await Promise.all([process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => stream.write("", () => resolve()))));
  }

  #take(message: ToProgram): void {
    if (message.type === "resize") this.size = { columns: message.columns, rows: message.rows };
    if (message.type !== "file") return;
    this.#waiting.get(message.id)?.(message);
    this.#waiting.delete(message.id);
  }

  #send(message: FromProgram): void {
    process.send?.(message);
  }
}

/** Writes and waits until the reader keeps up, so that nothing piles up in memory. */
export async function writeAll(stream: NodeJS.WritableStream, chunk: Buffer | string): Promise<void> {
  if (!stream.write(chunk)) await new Promise<void>((resolve) => stream.once("drain", resolve));
}
