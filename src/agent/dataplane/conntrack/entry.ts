/**
 * One entry of conntrack, read from the tool's XML: there the directions have names, so that a field that is missing or new never
 * shifts the others, which the tool's lines of text could.
 */
import type { ServiceProtocol } from "#agent/dataplane/dataplane.ts";

/** What of an entry matters here: where it leads. Of UDP, that decides whether it is stale. */
export interface ConntrackEntry {
  /** Where the client sent to. */
  readonly destination: string;
  readonly destinationPort: number;
  /** Whose answers are expected: the endpoint, or the destination itself where nothing was translated. */
  readonly replySource: string;
  readonly replySourcePort: number;
}

const original = /<meta direction="original">(.*?)<\/meta>/;
const reply = /<meta direction="reply">(.*?)<\/meta>/;
const address = "([0-9a-f.:]{2,45})";
const tuple = new RegExp(
  `<layer3 [^>]*><src>${address}</src><dst>${address}</dst></layer3>` +
    `<layer4 protonum="(\\d{1,3})" [^>]*><sport>(\\d{1,5})</sport><dport>(\\d{1,5})</dport></layer4>`,
);
const zone = /<zone(?:-orig|-reply)?>/;

/** IANA's numbers of the protocols that Services have. */
export const protocolNumbers: Readonly<Record<ServiceProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** Whether a line of the tool's output is an entry at all: the document's frame is not. */
export function isFlow(line: string): boolean {
  return line.startsWith("<flow>");
}

/** Reads a `<flow>`; undefined where it is not a whole entry of the protocol in the default zone, which is the only one that Services' rules use. */
export function parseFlow(line: string, protocol: number = protocolNumbers.UDP): ConntrackEntry | undefined {
  if (!line.endsWith("</flow>") || zone.test(line)) return undefined;
  const there = readTuple(original.exec(line)?.[1] ?? "", protocol);
  const back = readTuple(reply.exec(line)?.[1] ?? "", protocol);
  if (there === undefined || back === undefined) return undefined;
  const { destination, destinationPort } = there;
  return { destination, destinationPort, replySource: back.source, replySourcePort: back.sourcePort };
}

function readTuple(text: string, protocol: number) {
  const [, source, destination, number, sourcePort, destinationPort] = tuple.exec(text) ?? [];
  if (source === undefined || destination === undefined || Number(number) !== protocol) return undefined;
  return { source, destination, sourcePort: Number(sourcePort), destinationPort: Number(destinationPort) };
}
