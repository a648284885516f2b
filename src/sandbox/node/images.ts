/**
 * The node of the sandbox: it runs pods as child processes. An image is one of a few names, each of which stands for a program of
 * ours in `programs/`; nothing else can be run, whatever a pod asks for. What must stay true: the process has no more rights than
 * `programs/messages.ts` says, ends with the sandbox, and the pod's status says what really happened to it.
 */
import type { Json } from "#sandbox/objects/json.ts";
import { textAt, textListAt } from "#sandbox/objects/json.ts";

/** An image and what it runs. */
export interface SandboxImage {
  readonly name: string;
  /** Entry of `programs/main.ts`; "" runs nothing: the pod stands for a process outside of the sandbox. */
  readonly program: string;
  readonly description: string;
}

/** All images. */
export const images: readonly SandboxImage[] = [
  { name: "sallyport.dev/sandbox/web:1", program: "web", description: "a small web server with a WebSocket echo and server-sent events" },
  { name: "sallyport.dev/sandbox/ticker:1", program: "ticker", description: "one log line each second" },
  { name: "sallyport.dev/sandbox/toybox:1", program: "toybox", description: "a handful of commands, for exec and attach" },
  { name: "sallyport.dev/sandbox/crasher:1", program: "crasher", description: "a program that always fails" },
  { name: "sallyport.dev/sandbox/outside:1", program: "", description: "stands for a process that runs outside of the sandbox" },
];

/** The image of a name; a missing tag, `latest` and a missing registry mean the one there is. */
export function findImage(name: string): SandboxImage | undefined {
  const bare = (text: string): string => text.replace(/^sallyport\.dev\/sandbox\//, "").replace(/:(1|latest)$/, "");
  return images.find((image) => bare(image.name) === bare(name));
}

/** A sentence that lists the images, for events and errors. */
export function imageList(): string {
  return `this sandbox has only these images: ${images.map((image) => image.name).join(", ")}`;
}

/** What a container runs: a `command` is run by the toybox, `args` alone go to the image's own program. */
export function programOf(container: Json, image: SandboxImage): { readonly program: string; readonly argv: readonly string[] } {
  const command = textListAt(container, "command");
  const args = textListAt(container, "args");
  return command.length > 0 && image.program !== ""
    ? { program: "toybox", argv: [...command, ...args] }
    : { program: image.program, argv: args };
}

/** The image that a container names. */
export function imageOf(container: Json): SandboxImage | undefined {
  return findImage(textAt(container, "image"));
}
