/** The wire format of protobuf (protobuf.dev, "Encoding"): field numbers with varints or bytes. */

/** A value as it is on the wire: a varint or a fixed number, or bytes. */
export type WireValue = bigint | Buffer;

/** The values of each field number in the order in which they came. */
export type Message = ReadonlyMap<number, readonly WireValue[]>;

/** Longest varint in bytes. */
const maxVarintBytes = 10;

/** Reads one message; undefined when the bytes are no protobuf. */
export function readMessage(bytes: Buffer): Message | undefined {
  const fields = new Map<number, WireValue[]>();
  let offset = 0;
  while (offset < bytes.length) {
    const key = readVarint(bytes, offset);
    if (key === undefined) return undefined;
    const read = readValue(bytes, key.end, Number(key.value & 7n));
    const number = Number(key.value >> 3n);
    if (read === undefined || number === 0) return undefined;
    fields.set(number, [...(fields.get(number) ?? []), read.value]);
    offset = read.end;
  }
  return fields;
}

function readValue(bytes: Buffer, offset: number, wireType: number): { readonly value: WireValue; readonly end: number } | undefined {
  switch (wireType) {
    case 0:
      return readVarint(bytes, offset);
    case 1:
      return offset + 8 > bytes.length ? undefined : { value: bytes.readBigUInt64LE(offset), end: offset + 8 };
    case 2: {
      const length = readVarint(bytes, offset);
      if (length === undefined || length.value > BigInt(bytes.length - length.end)) return undefined;
      const end = length.end + Number(length.value);
      return { value: bytes.subarray(length.end, end), end };
    }
    case 5:
      return offset + 4 > bytes.length ? undefined : { value: BigInt(bytes.readUInt32LE(offset)), end: offset + 4 };
    default:
      return undefined;
  }
}

function readVarint(bytes: Buffer, offset: number): { readonly value: bigint; readonly end: number } | undefined {
  let value = 0n;
  for (let index = 0; index < maxVarintBytes; index += 1) {
    const byte = bytes[offset + index];
    if (byte === undefined) return undefined;
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if ((byte & 0x80) === 0) return { value, end: offset + index + 1 };
  }
  return undefined;
}
