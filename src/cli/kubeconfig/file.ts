/** The kubeconfig file: which one it is, and replacing it without losing anything. */
import { copyFile, chmod, mkdir, open, readFile, realpath, rm, stat } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import type { CliContext } from "#cli/context.ts";
import { CommandError } from "#cli/output/failure.ts";
import { isSystemError, replaceFile } from "#cli/session/private-file.ts";
import type { KubeconfigChange } from "./merge.ts";

/** kubectl holds its lock for milliseconds. */
const lockWaitMs = 5000;
const lockRetryMs = 100;

/** What has been done to the file. */
export type KubeconfigOutcome =
  | { readonly type: "written"; readonly path: string; readonly backup: string | undefined; readonly contexts: readonly string[] }
  | { readonly type: "unchanged"; readonly path: string; readonly contexts: readonly string[] };

/**
 * The file that kubectl would write to: the only one of KUBECONFIG, else the first of them that exists, else the last; without
 * KUBECONFIG, ~/.kube/config (client-go `PathOptions.GetDefaultFilename`).
 */
export async function findKubeconfig(context: Pick<CliContext, "env" | "homeDirectory">): Promise<string> {
  const named = (context.env["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  for (const path of named) if (await exists(path)) return path;
  return named.at(-1) ?? join(context.homeDirectory, ".kube", "config");
}

/** Changes the file under kubectl's lock. The old text stays beside it as `.sallyport-backup`. */
export async function changeKubeconfig(
  context: CliContext,
  path: string,
  edit: (text: string) => KubeconfigChange,
): Promise<KubeconfigOutcome> {
  await mkdir(dirname(path), { recursive: true });
  // A link is followed, or the rename would replace it by a file.
  const target = await realpath(path).catch(() => path);
  return withKubectlLock(context, target, async () => {
    const before = await readText(target);
    const change = edit(before ?? "");
    switch (change.type) {
      case "refused":
        throw new CommandError({
          code: "USAGE",
          title: `${path} was not changed`,
          cause: change.problems.join("\n"),
          next: ["Correct the file, or choose another one with --file."],
        });
      case "unchanged":
        return { type: "unchanged", path, contexts: change.contexts };
      case "changed": {
        const backup = before === undefined ? undefined : `${target}.sallyport-backup`;
        const mode = before === undefined ? 0o600 : (await stat(target)).mode & 0o777;
        if (backup !== undefined) await copyPrivate(target, backup);
        await replaceFile(target, change.text, mode);
        return { type: "written", path, backup, contexts: change.contexts };
      }
    }
  });
}

/** client-go locks a kubeconfig by creating `<file>.lock` (clientcmd `lockFile`); a lock that stays is its owner's to remove. */
async function withKubectlLock<Value>(context: CliContext, path: string, work: () => Promise<Value>): Promise<Value> {
  const lock = `${path}.lock`;
  const deadline = context.time.now() + lockWaitMs;
  while (!(await tryLock(lock))) {
    if (context.time.now() >= deadline)
      throw new CommandError({
        code: "OVERLOADED",
        title: `${path} is locked by another program`,
        next: [`rm '${lock}'    (when no other program is changing the file)`],
      });
    await context.time.wait(lockRetryMs);
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function tryLock(lock: string): Promise<boolean> {
  try {
    await (await open(lock, "wx", 0o600)).close();
    return true;
  } catch (thrown) {
    if (isSystemError(thrown, "EEXIST")) return false;
    throw thrown;
  }
}

async function copyPrivate(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  await copyFile(from, to);
  await chmod(to, 0o600);
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    if (isSystemError(thrown, "ENOENT")) return undefined;
    throw thrown;
  }
}

async function exists(path: string): Promise<boolean> {
  return (await readText(path)) !== undefined;
}
