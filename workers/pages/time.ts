/** A moment, as pages write it: without a script nobody knows the reader's time zone. */
import { markup } from "./html.ts";
import type { Html } from "./html.ts";

export function time(atMs: number): Html {
  const date = new Date(atMs).toISOString();
  return markup`<time datetime="${date}">${date.slice(0, 10)} ${date.slice(11, 16)} UTC</time>`;
}
