/** The events of a watch as they stand on the wire: one JSON object on each line (meta/v1 WatchEvent). */
import { isObject, objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { maxWatchedObjectBytes } from "./limits.ts";
import { Bytes } from "./list-reader.ts";

/** One event. */
export type WatchEvent =
  | { readonly type: "changed"; readonly object: JsonObject; readonly resourceVersion: string }
  | { readonly type: "deleted"; readonly object: JsonObject; readonly resourceVersion: string }
  /** `endsInitial`: the objects that were there when a watch-list began have all been sent (KEP-3157). */
  | { readonly type: "bookmark"; readonly resourceVersion: string; readonly endsInitial: boolean }
  /** The apiserver ends the watch with a Status; its code. */
  | { readonly type: "error"; readonly code: number; readonly reason: string };

const newline = 0x0a;
const initialEventsEnd = "k8s.io/initial-events-end";

/** Cuts bytes into lines, and reads each as an event. Throws what says why one is none. */
export class WatchEventReader {
  readonly #line = new Bytes(maxWatchedObjectBytes, "an event");

  /** The events that are complete with these bytes. */
  *read(chunk: Uint8Array): Generator<WatchEvent> {
    let from = 0;
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
      this.#line.add(chunk.subarray(from, at));
      from = at + 1;
      const text = this.#line.take();
      if (text.trim() !== "") yield parseWatchEvent(JSON.parse(text));
    }
    this.#line.add(chunk.subarray(from));
  }
}

/** Reads a WatchEvent. Throws for what is none. */
export function parseWatchEvent(value: unknown): WatchEvent {
  if (!isObject(value)) throw new Error("an event is not an object");
  const object = objectField(value, "object");
  const metadata = objectField(object, "metadata");
  const resourceVersion = textField(metadata, "resourceVersion");
  const type = textField(value, "type");
  if (type === "ERROR") return { type: "error", code: numberField(object, "code"), reason: textField(object, "reason") };
  if (resourceVersion === "") throw new Error("an event's object has no resourceVersion");
  switch (type) {
    case "ADDED":
    case "MODIFIED":
      return { type: "changed", object, resourceVersion };
    case "DELETED":
      return { type: "deleted", object, resourceVersion };
    case "BOOKMARK":
      return {
        type: "bookmark",
        resourceVersion,
        endsInitial: textField(objectField(metadata, "annotations"), initialEventsEnd) === "true",
      };
    default:
      throw new Error("an event has a type that no watch has");
  }
}

function numberField(object: JsonObject, name: string): number {
  const value = object[name];
  return typeof value === "number" ? value : 0;
}
