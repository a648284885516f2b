/** A certificate authority and a server certificate made at start (X.509 v3, RFC 5280), with ECDSA P-256 and node:crypto only. */
import { createHash, generateKeyPair, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIP } from "node:net";
import { promisify } from "node:util";

/** What a TLS server needs, and the CA that its clients trust. */
export interface ServerCertificate {
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** Life of both certificates: longer than any demonstration, shorter than what browsers refuse (398 days). */
const lifetimeDays = 90;
/** Clients with a clock that is behind still accept them. */
const backdateMs = 5 * 60_000;

/** Makes a CA and a certificate for the names, which may be DNS names or IP addresses. The CA's key is thrown away. */
export async function createServerCertificate(names: readonly string[], nowMs: number): Promise<ServerCertificate> {
  const ca = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  const server = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  const caName = distinguishedName("Sallyport sandbox CA");
  const caKeyId = keyId(ca.publicKey);
  const caCertificate = certificate({
    subject: caName,
    issuer: caName,
    publicKey: ca.publicKey,
    signingKey: ca.privateKey,
    nowMs,
    extensions: [
      extension("551d13", sequence(boolean(true), integer(Buffer.from([0]))), "critical"),
      extension("551d0f", Buffer.from([0x03, 0x02, 0x02, 0x04]), "critical"), // keyCertSign
      extension("551d0e", tagged(0x04, caKeyId)),
    ],
  });
  const serverCertificate = certificate({
    subject: distinguishedName(names[0] ?? "localhost"),
    issuer: caName,
    publicKey: server.publicKey,
    signingKey: ca.privateKey,
    nowMs,
    extensions: [
      extension("551d13", sequence(), "critical"),
      extension("551d0f", Buffer.from([0x03, 0x02, 0x07, 0x80]), "critical"), // digitalSignature
      extension("551d25", sequence(oid("2b06010505070301"))), // serverAuth
      extension("551d11", sequence(...names.map(generalName))),
      extension("551d23", sequence(tagged(0x80, caKeyId))),
    ],
  });
  const keyPem = server.privateKey.export({ type: "pkcs8", format: "pem" });
  return { caPem: toPem(caCertificate), certificatePem: toPem(serverCertificate), keyPem: keyPem.toString() };
}

interface CertificateParts {
  readonly subject: Buffer;
  readonly issuer: Buffer;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly nowMs: number;
  readonly extensions: readonly Buffer[];
}

function certificate(parts: CertificateParts): Buffer {
  const algorithm = sequence(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40; // positive and of full length
  const validity = sequence(time(parts.nowMs - backdateMs), time(parts.nowMs + lifetimeDays * 86_400_000));
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    parts.issuer,
    validity,
    parts.subject,
    parts.publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...parts.extensions)),
  );
  const signature = sign("sha256", body, parts.signingKey);
  return sequence(body, algorithm, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])));
}

function distinguishedName(commonName: string): Buffer {
  return sequence(tagged(0x31, sequence(oid("550403"), tagged(0x0c, Buffer.from(commonName, "utf8")))));
}

function generalName(name: string): Buffer {
  if (isIP(name) === 4) return tagged(0x87, Buffer.from(name.split(".").map(Number)));
  return isIP(name) === 6 ? tagged(0x87, ipv6Bytes(name)) : tagged(0x82, Buffer.from(name, "ascii"));
}

function ipv6Bytes(address: string): Buffer {
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = tail === undefined ? left : [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return Buffer.from(groups.map((group) => group.padStart(4, "0")).join(""), "hex");
}

function keyId(key: KeyObject): Buffer {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest()
    .subarray(0, 20);
}

function extension(id: string, value: Buffer, critical?: "critical"): Buffer {
  return sequence(oid(id), ...(critical === undefined ? [] : [boolean(true)]), tagged(0x04, value));
}

function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return tagged(0x17, Buffer.from(digits.slice(2), "ascii")); // UTCTime, right until 2049
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function boolean(value: boolean): Buffer {
  return tagged(0x01, Buffer.from([value ? 0xff : 0]));
}

function oid(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, "hex"));
}

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function toPem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
