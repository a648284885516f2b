/** A certificate authority of one's own, for a gateway or an issuer that only this machine reaches. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { JsonGeneralName, X509Certificate } from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A certificate with its private key, PEM. */
export interface CertifiedKey {
  readonly certificate: string;
  readonly key: string;
}

/** An authority that signs server certificates. */
export interface Authority {
  /** PEM. */
  readonly certificate: string;
  /** Signs a certificate for these DNS names and IP addresses. */
  issue(names: readonly string[]): Promise<CertifiedKey>;
}

/** Makes an authority that lives as long as its certificates: some days. */
export async function createAuthority(name: string, lifetimeMs: number): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const now = Date.now();
  const validity = { notBefore: new Date(now - 60_000), notAfter: new Date(now + lifetimeMs) };
  const root = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${name}`,
    ...validity,
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return { certificate: root.toString("pem"), issue: (names) => issue({ root, signingKey: keys.privateKey, validity, names }) };
}

interface Issuance {
  readonly root: X509Certificate;
  readonly signingKey: webcrypto.CryptoKey;
  readonly validity: { readonly notBefore: Date; readonly notAfter: Date };
  readonly names: readonly string[];
}

async function issue(issuance: Issuance): Promise<CertifiedKey> {
  const { root, signingKey, validity, names } = issuance;
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const alternatives = names.map((name): JsonGeneralName => ({ type: /^[\d.]+$|:/.test(name) ? "ip" : "dns", value: name }));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${names[0] ?? "server"}`,
    issuer: root.subject,
    ...validity,
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new BasicConstraintsExtension(false),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(alternatives),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const lines = pkcs8.match(/.{1,64}/g) ?? [];
  return { certificate: certificate.toString("pem"), key: `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n` };
}

function serialNumber(): string {
  return `01${Buffer.from(webcrypto.getRandomValues(new Uint8Array(15))).toString("hex")}`;
}
