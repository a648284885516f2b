/** How the documents that gateway, agent and command line exchange are read: totally, with everything that is wrong with them. */
import { isObject } from "./json-fields.ts";

/** A parser's answer: the value, or everything that is wrong with it. */
export type Parsed<Value> =
  | { readonly type: "parsed"; readonly value: Value }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

const maxTextCharacters = 2048;

/** Runs a reader, which notes what is wrong and goes on. */
export function finish<Value>(read: (problems: string[]) => Value): Parsed<Value> {
  const problems: string[] = [];
  const value = read(problems);
  return problems.length === 0 ? { type: "parsed", value } : { type: "invalid", problems };
}

/** Reads text that is not empty; `at` is where it stands, for the problem. */
export function readText(input: unknown, at: string, problems: string[]): string {
  if (typeof input === "string" && input !== "" && input.length <= maxTextCharacters) return input;
  problems.push(`${at} must be text of 1 to ${maxTextCharacters} characters`);
  return "";
}

/** Reads a whole number from 0 on. */
export function readCount(input: unknown, at: string, problems: string[]): number {
  if (typeof input === "number" && Number.isSafeInteger(input) && input >= 0) return input;
  problems.push(`${at} must be a whole number`);
  return 0;
}

export function readArray(input: unknown, at: string, problems: string[]): readonly unknown[] {
  if (Array.isArray(input)) return input;
  problems.push(`${at} must be a list`);
  return [];
}

export function readObject(input: unknown, at: string, problems: string[]): Readonly<Record<string, unknown>> {
  if (isObject(input)) return input;
  problems.push(`${at === "" ? "the document" : at.replace(/\.$/, "")} must be an object`);
  return {};
}

/** A field that the object itself has. */
export function field(object: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}
