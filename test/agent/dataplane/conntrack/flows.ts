/** Lines as conntrack 1.4.7 prints them with `-o xml`. */
import type { ConntrackEntry } from "#agent/dataplane/conntrack/entry.ts";

export function flowLine(
  { destination, destinationPort, replySource, replySourcePort }: ConntrackEntry,
  family = "ipv4",
  client = 40_000,
): string {
  const number = family === "ipv4" ? 2 : 10;
  const source = family === "ipv4" ? "10.1.0.2" : "fd00:1::2";
  const meta = (direction: string, [from, to, sport, dport]: readonly [string, string, number, number]): string =>
    `<meta direction="${direction}"><layer3 protonum="${number}" protoname="${family}"><src>${from}</src><dst>${to}</dst></layer3>` +
    `<layer4 protonum="17" protoname="udp"><sport>${sport}</sport><dport>${dport}</dport></layer4></meta>`;
  return (
    `<flow>${meta("original", [source, destination, client, destinationPort])}${meta("reply", [replySource, source, replySourcePort, client])}` +
    `<meta direction="independent"><timeout>29</timeout><mark>0</mark><use>1</use><unreplied/></meta></flow>`
  );
}
