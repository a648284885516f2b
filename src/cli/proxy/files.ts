/** The files of --www. Only regular files inside the directory are served, links out of it are not followed, and no directory is listed. */
import { createReadStream } from "node:fs";
import { open, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, sep } from "node:path";
import { answerText } from "./answer.ts";

/** Types that browsers need to be told; all else is bytes. */
const contentTypes: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".gif": "image/gif",
  ".htm": "text/html; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/vnd.microsoft.icon",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webp": "image/webp",
  ".woff2": "font/woff2",
  ".xml": "text/xml; charset=utf-8",
  ".yaml": "text/yaml; charset=utf-8",
};

/** Answers with a file of the directory, or its index.html for a directory's path. */
export async function serveFile(directory: string, path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    answerText(response, 405, "Method Not Allowed");
    return;
  }
  const wanted = path === "" || path.endsWith("/") ? `${path}index.html` : path;
  const file = await openInside(directory, wanted);
  if (file === undefined) {
    answerText(response, 404, "404 page not found");
    return;
  }
  try {
    const { size, mtime } = await file.stat();
    const isFresh = Date.parse(request.headers["if-modified-since"] ?? "") >= Math.floor(mtime.getTime() / 1000) * 1000;
    const head = { "last-modified": mtime.toUTCString(), "x-content-type-options": "nosniff" };
    if (isFresh) {
      response.writeHead(304, head).end();
      return;
    }
    const type = contentTypes[extname(wanted).toLowerCase()] ?? "application/octet-stream";
    response.writeHead(200, { ...head, "content-type": type, "content-length": size });
    if (request.method === "HEAD") response.end();
    else await sendBytes(file, response);
  } finally {
    await file.close();
  }
}

async function sendBytes(file: FileHandle, response: ServerResponse): Promise<void> {
  const bytes = createReadStream("", { fd: file, autoClose: false });
  response.on("close", () => bytes.destroy());
  await new Promise<void>((resolve) => {
    bytes.on("error", () => response.destroy());
    bytes.on("close", resolve);
    bytes.pipe(response);
  });
}

/** The file, when it is a regular one and its true place is below the directory's. */
async function openInside(directory: string, path: string): Promise<FileHandle | undefined> {
  try {
    const root = await realpath(directory);
    const place = await realpath(join(root, path));
    if (!place.startsWith(root.endsWith(sep) ? root : root + sep)) return undefined;
    const file = await open(place, "r");
    if ((await file.stat()).isFile()) return file;
    await file.close();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Error && "syscall" in thrown) return undefined; // not there, or not ours to read
    throw thrown;
  }
}
