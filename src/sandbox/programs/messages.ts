/**
 * The programs of the sandbox's containers. They are ours: the sandbox never runs a program of the user's choosing, nor a shell of
 * the user's machine. What must stay true: a program runs in a Node process without rights to write files, read others than these
 * sources, start processes, threads or native code; it gets no environment of ours; and it ends when its parent is gone. This
 * folder therefore imports nothing from outside of itself.
 */

/** A process as `ps` in a container shows it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly command: string;
}

/** What a program is started with. */
export interface ProgramStart {
  readonly type: "start";
  /** Entry of `programs` in main.ts. */
  readonly program: string;
  readonly argv: readonly string[];
  /** The container's environment; it is data, never the process' own. */
  readonly env: Readonly<Record<string, string>>;
  readonly hostname: string;
  readonly tty: boolean;
  readonly ports: readonly number[];
  readonly processes: readonly ProcessEntry[];
}

/** From the kubelet to a program. */
export type ToProgram = ProgramStart | { readonly type: "resize"; readonly columns: number; readonly rows: number } | FileAnswer;

/** From a program to the kubelet. */
export type FromProgram = { readonly type: "listening"; readonly containerPort: number; readonly port: number } | FileQuestion;

/** A question about the container's files, which live in the memory of the kubelet. */
export type FileQuestion =
  | { readonly type: "read"; readonly id: number; readonly path: string }
  | { readonly type: "list"; readonly id: number; readonly path: string }
  | { readonly type: "write"; readonly id: number; readonly path: string; readonly base64: string }
  | { readonly type: "remove"; readonly id: number; readonly path: string };

/** The answer to a question of the same id; an error is a sentence without the path. */
export interface FileAnswer {
  readonly type: "file";
  readonly id: number;
  readonly base64?: string;
  readonly names?: readonly string[];
  readonly error?: string;
}
