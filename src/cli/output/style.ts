/** Colour, and whether there is any (no-color.org; force-color.org is not followed). */
import { styleText } from "node:util";
import type { Environment } from "#cli/session/paths.ts";

export type Style = "red" | "green" | "yellow" | "bold" | "dim";

export function paint(style: Style, text: string, hasColor: boolean): string {
  return hasColor ? styleText(style, text, { validateStream: false }) : text;
}

/** Whether the stream takes colour: a terminal, not a dumb one, and nobody asked for none. */
export function wantsColor(env: Environment, isTerminal: boolean): boolean {
  return isTerminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}
