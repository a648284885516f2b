/** Request bodies in protobuf (`application/vnd.kubernetes.protobuf`), which kubectl 1.34 and later send for the kinds they know. Answers are JSON. */
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { resources } from "#sandbox/objects/resources.ts";
import { fieldsOf } from "#sandbox/objects/types.ts";
import type { Field, FieldType } from "#sandbox/objects/types.ts";
import { readMessage } from "./protobuf-wire.ts";
import type { Message, WireValue } from "./protobuf-wire.ts";

/** The media type. */
export const protobufType = "application/vnd.kubernetes.protobuf";

/** Every body starts with these bytes, then comes a runtime.Unknown (apimachinery, runtime/serializer/protobuf). */
const magic = Buffer.from("k8s\0", "latin1");

/** The object in a body; undefined when it is no protobuf of a known kind. */
export function decodeProtobuf(body: Buffer): JsonObject | undefined {
  if (!body.subarray(0, magic.length).equals(magic)) return undefined;
  const envelope = readMessage(body.subarray(magic.length));
  const type = readNested(envelope, 1);
  const apiVersion = textOf(type?.get(1)?.at(-1));
  const kind = textOf(type?.get(2)?.at(-1));
  const raw = envelope?.get(2)?.at(-1);
  const message = Buffer.isBuffer(raw) ? readMessage(raw) : undefined;
  if (message === undefined || kind === "") return undefined;
  const object = decodeStruct(structOf(apiVersion, kind), message);
  return object === undefined ? undefined : { ...object, apiVersion, kind };
}

function structOf(apiVersion: string, kind: string): string {
  if (kind === "DeleteOptions") return "meta.v1.DeleteOptions";
  const group = apiVersion.includes("/") ? (apiVersion.split(/[./]/)[0] ?? "") : "core";
  return resources.find((resource) => resource.kind === kind)?.type ?? `${group}.v1.${kind}`;
}

/** The fields that a message has; undefined when one of them is broken. */
function decodeStruct(struct: string, message: Message): JsonObject | undefined {
  const fields = fieldsOf(struct);
  const entries: [string, Json][] = [];
  for (const [name, field] of fields) {
    const value = decodeField(field, message);
    if (value === "broken") return undefined;
    if (value !== undefined) entries.push([name, value.json]);
  }
  return Object.fromEntries(entries);
}

type Decoded = { readonly json: Json } | "broken" | undefined;

function decodeField(field: Field, message: Message): Decoded {
  const values = valuesAt(message, field.numbers);
  if (values === "broken") return "broken";
  if (values === undefined || values.length === 0) return undefined;
  const { fieldType } = field;
  if (fieldType.type === "list") return decodeList(fieldType.item, values);
  if (fieldType.type === "map") return decodeMap(fieldType.value, values);
  const json = decodeOne(fieldType, values.at(-1) ?? 0n);
  if (json === undefined) return "broken";
  return json === null || (!field.isPointer && isZero(json)) ? undefined : { json };
}

/** Go writes the zero of every field that is no pointer; in JSON such a field is absent. */
function isZero(json: Json): boolean {
  return json === "" || json === 0 || json === false;
}

/** The values of a field, which may be in a message that Go embeds without a JSON name. */
function valuesAt(message: Message, numbers: readonly number[]): readonly WireValue[] | "broken" | undefined {
  const [first, ...rest] = numbers;
  if (first === undefined) return undefined;
  if (rest.length === 0) return message.get(first);
  if (!message.has(first)) return undefined;
  const inner = readNested(message, first);
  return inner === undefined ? "broken" : valuesAt(inner, rest);
}

function decodeList(item: FieldType, values: readonly WireValue[]): Decoded {
  const items = values.map((value) => decodeOne(item, value));
  return items.every((value) => value !== undefined) ? { json: items } : "broken";
}

/** A map is a list of messages with key 1 and value 2. */
function decodeMap(valueType: FieldType, values: readonly WireValue[]): Decoded {
  const entries: [string, Json][] = [];
  for (const value of values) {
    const entry = Buffer.isBuffer(value) ? readMessage(value) : undefined;
    if (entry === undefined) return "broken";
    const inner = decodeOne(valueType, entry.get(2)?.at(-1) ?? Buffer.alloc(0));
    if (inner === undefined) return "broken";
    entries.push([textOf(entry.get(1)?.at(-1)), inner]);
  }
  return { json: Object.fromEntries(entries) };
}

/** One value; undefined when its bytes do not fit its type, null for a time that was not set. */
function decodeOne(type: FieldType, value: WireValue): Json | undefined {
  switch (type.type) {
    case "scalar":
      return decodeScalar(type.name, value);
    case "struct": {
      const message = Buffer.isBuffer(value) ? readMessage(value) : undefined;
      return message === undefined ? undefined : decodeStruct(type.name, message);
    }
    case "list": {
      // A list inside of a map is a message with the items in field 1 (ExtraValue).
      const message = Buffer.isBuffer(value) ? readMessage(value) : undefined;
      const decoded = message === undefined ? "broken" : decodeList(type.item, message.get(1) ?? []);
      return decoded === undefined || decoded === "broken" ? undefined : decoded.json;
    }
    case "map":
      return undefined; // no kind has a map directly inside of a map or list
  }
}

function decodeScalar(name: string, value: WireValue): Json | undefined {
  if (name === "integer" || name === "boolean") {
    if (typeof value !== "bigint") return undefined;
    return name === "boolean" ? value !== 0n : Number(BigInt.asIntN(64, value));
  }
  if (!Buffer.isBuffer(value)) return undefined;
  switch (name) {
    case "string":
      return value.toString("utf8");
    case "bytes":
      return value.toString("base64");
    case "quantity":
      return textOf(readMessage(value)?.get(1)?.at(-1));
    case "time":
      return decodeTime(readMessage(value));
    case "int-or-string":
      return decodeIntOrString(readMessage(value));
    default:
      return {}; // "object": its protobuf form is raw bytes that nothing here needs
  }
}

function decodeTime(message: Message | undefined): Json | undefined {
  if (message === undefined) return undefined;
  const seconds = numberOf(message.get(1)?.at(-1));
  if (seconds === 0) return null;
  const nanos = numberOf(message.get(2)?.at(-1));
  const text = new Date(seconds * 1000).toISOString().slice(0, 19);
  return nanos === 0 ? `${text}Z` : `${text}.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z`;
}

function decodeIntOrString(message: Message | undefined): Json | undefined {
  if (message === undefined) return undefined;
  return numberOf(message.get(1)?.at(-1)) === 1 ? textOf(message.get(3)?.at(-1)) : numberOf(message.get(2)?.at(-1));
}

function readNested(message: Message | undefined, number: number): Message | undefined {
  const value = message?.get(number)?.at(-1);
  return Buffer.isBuffer(value) ? readMessage(value) : undefined;
}

function textOf(value: WireValue | undefined): string {
  return Buffer.isBuffer(value) ? value.toString("utf8") : "";
}

function numberOf(value: WireValue | undefined): number {
  return typeof value === "bigint" ? Number(BigInt.asIntN(64, value)) : 0;
}
