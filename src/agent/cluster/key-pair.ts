/**
 * The cluster's key pair: what tells this cluster's agents from anybody else's. The gateway pins its public half when the cluster joins;
 * the private half lies in one Secret that RBAC names, or in a file for an agent outside a cluster. It is made once, by whichever
 * replica is first, and never replaced by the agent: a key that cannot be read is an admin's decision, not ours.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import type { JsonWebKey, KeyObject } from "node:crypto";
import { chmod, link, readFile, stat, unlink, writeFile } from "node:fs/promises";
import { GatewayError } from "#core/errors.ts";
import { objectField, textField } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";
import { keyAttempts } from "./limits.ts";

/** A public Ed25519 key as a JWK (RFC 8037). */
export interface PublicJwk {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
}

export interface ClusterKeyPair {
  readonly publicJwk: PublicJwk;
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string;
  /** An Ed25519 signature, 64 bytes (RFC 8032). */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}

/** The key of the Secret's data that holds the private JWK. */
const secretKey = "key.jwk";

/** The key pair in a Secret, made there if the Secret has none; rejects with a GatewayError that says what to do. */
export async function openSecretKeyPair(api: ClusterApi, namespace: string, name: string): Promise<ClusterKeyPair> {
  const target = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(name)}`;
  const place = `the Secret ${namespace}/${name}`;
  for (let attempt = 0; attempt < keyAttempts; attempt += 1) {
    const answer = await api.get(target);
    if (answer.type === "refused") throw secretRefused(place, "read", answer.status);
    const data = objectField(answer.object, "data");
    const present = textField(data, secretKey);
    if (present !== "") return parseKeyPair(Buffer.from(present, "base64").toString("utf8"), place);
    const made = generateJwk();
    // The object goes back with the resourceVersion that was read, so that of several replicas one wins.
    const written = await api.update(target, { ...answer.object, data: { ...data, [secretKey]: Buffer.from(made).toString("base64") } });
    if (written.type === "object") return parseKeyPair(made, place);
    if (written.status !== 409) throw secretRefused(place, "update", written.status);
  }
  throw new GatewayError(
    "CONFIGURATION_INVALID",
    `${place} changes each time the agent writes its key to it; something else keeps writing it`,
  );
}

/** The key pair in a file, made there if the file is missing; rejects with a GatewayError that says what to do. */
export async function openFileKeyPair(path: string): Promise<ClusterKeyPair> {
  try {
    if ((await readKeyFile(path)) === undefined) await makeKeyFile(path);
    const text = await readKeyFile(path);
    if (text !== undefined) return parseKeyPair(text, path);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("CONFIGURATION_INVALID", `${path}: the key file can be neither read nor made`, { cause: error });
  }
  throw new GatewayError("CONFIGURATION_INVALID", `${path}: the key file vanished while it was made`);
}

/** Reads a private Ed25519 JWK; throws CONFIGURATION_INVALID, never with a part of the key. */
export function parseKeyPair(text: string, place: string): ClusterKeyPair {
  const key = readPrivateKey(text);
  if (key === undefined) {
    throw new GatewayError(
      "CONFIGURATION_INVALID",
      `${place}: its key is not a private Ed25519 JWK. Restore it, or remove it and register the cluster anew`,
    );
  }
  const { x } = createPublicKey(key).export({ format: "jwk" });
  const publicJwk: PublicJwk = { kty: "OKP", crv: "Ed25519", x: x ?? "" };
  const members = JSON.stringify({ crv: publicJwk.crv, kty: publicJwk.kty, x: publicJwk.x }); // RFC 7638 section 3: this order, no blanks
  return {
    publicJwk,
    thumbprint: createHash("sha256").update(members).digest("base64url"),
    sign: async (bytes) => sign(null, bytes, key),
  };
}

function generateJwk(): string {
  return JSON.stringify(generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }));
}

function readPrivateKey(text: string): KeyObject | undefined {
  try {
    const jwk = JSON.parse(text) as JsonWebKey; // createPrivateKey checks it
    const key = createPrivateKey({ key: jwk, format: "jwk" });
    const derived = createPublicKey(key).export({ format: "jwk" });
    return key.asymmetricKeyType === "ed25519" && derived.x === jwk.x ? key : undefined;
  } catch {
    return undefined; // not JSON, or not a key: the caller names the place
  }
}

async function readKeyFile(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path);
    if (process.platform !== "win32" && (mode & 0o077) !== 0) {
      throw new GatewayError("CONFIGURATION_INVALID", `${path}: others may read the key; run chmod 600 on it`);
    }
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes beside the file and links it in: of several processes one wins, and no reader sees half a key. */
async function makeKeyFile(path: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  await writeFile(draft, generateJwk(), { flag: "wx", mode: 0o600 });
  try {
    await chmod(draft, 0o600);
    await link(draft, path);
  } catch (error) {
    const lost = error instanceof Error && "code" in error && error.code === "EEXIST";
    if (!lost) throw error;
  } finally {
    await unlink(draft);
  }
}

function secretRefused(place: string, verb: string, status: number): GatewayError {
  if (status === 404)
    return new GatewayError("CONFIGURATION_INVALID", `${place} is missing: apply the agent's manifests, which hold it empty`);
  return new GatewayError(
    "CONFIGURATION_INVALID",
    `the agent may not ${verb} ${place} (${status}): apply the agent's manifests, whose Role allows it`,
  );
}
