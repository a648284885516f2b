/**
 * IP addresses and ranges of addresses as Kubernetes' objects write them, in one form only, so that two spellings of an address are the
 * same text here, and nothing but addresses ever reaches a rule. Old objects may have IPv4 octets with leading zeros, which are decimal
 * (KEP-4858), and IPv4 addresses mapped into IPv6, which are IPv4 addresses.
 */
import type { IpFamily } from "./dataplane.ts";

export interface Address {
  readonly family: IpFamily;
  /** RFC 5952 for IPv6. */
  readonly text: string;
}

/** A range of addresses: all whose first `length` bits are those of `first`. */
export interface AddressRange {
  readonly family: IpFamily;
  /** `10.0.0.0/8`, without host bits. */
  readonly text: string;
  readonly first: bigint;
  readonly last: bigint;
  readonly length: number;
}

const bitsOf = { IPv4: 32, IPv6: 128 } as const;
const groupBits = 16n;
const groupCount = 8;
const groupMask = 0xffffn;
const maxOctet = 255;
/** RFC 4291, section 2.5.5.2: ::ffff:0:0/96. */
const mappedPrefix = 0xffffn;

/** Reads an address; undefined if it is none. */
export function parseAddress(text: string): Address | undefined {
  // Nearly all addresses come as they should be, and there are hundreds of thousands of them.
  if (isCanonicalIpv4(text)) return { family: "IPv4", text };
  const number = parseNumber(text);
  return number === undefined ? undefined : { family: number.family, text: toText(number.family, number.value) };
}

/** Reads `address/length`, trimmed (the API lets blanks through in source ranges); undefined if it is none. */
export function parseRange(text: string): AddressRange | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text.trim());
  const address = match?.[1] === undefined ? undefined : parseNumber(match[1]);
  const length = Number(match?.[2]);
  if (address === undefined || length > bitsOf[address.family]) return undefined;
  // A mapped address has its length in IPv6 bits; the API server refuses such ranges.
  if (address.family === "IPv4" && match?.[1]?.includes(":") === true) return undefined;
  return rangeOf(address, length);
}

export function isInRange(range: AddressRange, address: Address): boolean {
  const number = parseNumber(address.text);
  return number !== undefined && range.family === number.family && range.first <= number.value && number.value <= range.last;
}

/** The same addresses without ranges that others contain, in ascending order. */
export function mergeRanges(ranges: readonly AddressRange[]): readonly AddressRange[] {
  const merged: AddressRange[] = [];
  // Prefixes either contain each other or have nothing in common, so the widest of those that start together comes first.
  for (const range of ranges.toSorted((one, other) => compare(one.first, other.first) || one.length - other.length)) {
    const before = merged.at(-1);
    if (before === undefined || range.last > before.last) merged.push(range);
  }
  return merged;
}

function compare(one: bigint, other: bigint): number {
  return one < other ? -1 : Number(one > other);
}

interface AddressNumber {
  readonly family: IpFamily;
  readonly value: bigint;
}

function isCanonicalIpv4(text: string): boolean {
  const match = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(text);
  return match !== null && match.slice(1).every((octet) => Number(octet) <= maxOctet);
}

function parseNumber(text: string): AddressNumber | undefined {
  const value = text.includes(":") ? ipv6Value(text) : undefined;
  if (value !== undefined && value >> 32n !== mappedPrefix) return { family: "IPv6", value };
  const ipv4 = value === undefined ? ipv4Value(text) : value & 0xffffffffn;
  return ipv4 === undefined ? undefined : { family: "IPv4", value: ipv4 };
}

function rangeOf({ family, value }: AddressNumber, length: number): AddressRange {
  const hostBits = BigInt(bitsOf[family] - length);
  const first = (value >> hostBits) << hostBits;
  const last = first + (1n << hostBits) - 1n;
  return { family, text: `${toText(family, first)}/${length}`, first, last, length };
}

function ipv4Value(text: string): bigint | undefined {
  const match = /^(\d{1,4})\.(\d{1,4})\.(\d{1,4})\.(\d{1,4})$/.exec(text);
  if (match === null) return undefined;
  const octets = match.slice(1).map(Number);
  if (octets.some((octet) => octet > maxOctet)) return undefined;
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function ipv6Value(text: string): bigint | undefined {
  const dotted = /^(.*:)(\d[\d.]*\.[\d.]*)$/.exec(text);
  if (dotted !== null) {
    const ipv4 = ipv4Value(dotted[2] ?? "");
    return ipv4 === undefined ? undefined : ipv6Value(`${dotted[1]}${(ipv4 >> groupBits).toString(16)}:${(ipv4 & groupMask).toString(16)}`);
  }
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const missing = groupCount - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => "0"), ...tail];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.reduce((value, group) => (value << groupBits) | BigInt(`0x${group}`), 0n);
}

function toText(family: IpFamily, value: bigint): string {
  if (family === "IPv4") return [24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 0xffn)).join(".");
  const groups = Array.from({ length: groupCount }, (_, index) =>
    ((value >> (groupBits * BigInt(groupCount - 1 - index))) & groupMask).toString(16),
  );
  const { start, length } = longestZeros(groups);
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

/** RFC 5952, section 4.2.3: the longest run of zero groups is the one that is shortened, the first of equal ones. */
function longestZeros(groups: readonly string[]): { readonly start: number; readonly length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== "0") start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}
