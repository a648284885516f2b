/** The files that commands in a container have written: in memory, bounded, gone with the container. */
import type { FileAnswer, FileQuestion } from "#sandbox/programs/messages.ts";

/** Bytes of all files of one container: enough to show `kubectl cp`. */
const maxBytes = 16 * 1024 * 1024;
const maxFiles = 1000;
const maxPathLength = 512;

/** A container's files by absolute path. */
export class ContainerFiles {
  readonly #files = new Map<string, string>();

  /** Answers a program's question. */
  answer(question: FileQuestion): FileAnswer {
    const { id, path } = question;
    switch (question.type) {
      case "read": {
        const base64 = this.#files.get(path);
        return base64 === undefined ? { type: "file", id, error: "No such file or directory" } : { type: "file", id, base64 };
      }
      case "list": {
        const prefix = path === "/" ? "/" : `${path}/`;
        return { type: "file", id, names: [...this.#files.keys()].filter((name) => name === path || name.startsWith(prefix)) };
      }
      case "write":
        return this.#write(question);
      case "remove":
        return this.#files.delete(path) ? { type: "file", id } : { type: "file", id, error: "No such file or directory" };
    }
  }

  #write({ id, path, base64 }: Extract<FileQuestion, { type: "write" }>): FileAnswer {
    const others = [...this.#files].filter(([name]) => name !== path);
    const bytes = others.reduce((sum, [, content]) => sum + content.length, base64.length) * 0.75;
    if (bytes > maxBytes || others.length >= maxFiles || path.length > maxPathLength) {
      return { type: "file", id, error: "No space left in this sandbox's container" };
    }
    if (path === "/" || others.some(([name]) => name.startsWith(`${path}/`))) return { type: "file", id, error: "Is a directory" };
    this.#files.set(path, base64);
    return { type: "file", id };
  }
}
