/** The cluster's own issuer: ServiceAccount tokens as kube-apiserver signs them (RS256; kubernetes, pkg/serviceaccount), its keys and discovery. */
import { createHash, createPublicKey, generateKeyPair, randomUUID, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { Clock } from "#sandbox/clock.ts";
import { isObject, numberAt, parseJson, textAt, textListAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";

/** The issuer's name, a cluster's usual one; also the audience of tokens for the apiserver itself. */
export const clusterIssuer = "https://kubernetes.default.svc.cluster.local";

/** What a token is to say. */
export interface TokenOrder {
  readonly serviceAccount: KubeObject;
  readonly audiences: readonly string[];
  readonly lifetimeSeconds: number;
  /** The pod that the token is bound to; it dies with the pod. */
  readonly pod?: KubeObject;
}

/** A signed token and its end. */
export interface IssuedToken {
  readonly token: string;
  readonly expiresAtMs: number;
}

/** Signs and checks ServiceAccount tokens with a key pair made at start and never written anywhere. */
export class ServiceAccountIssuer {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #keyId: string;
  readonly #clock: Clock;

  private constructor(privateKey: KeyObject, clock: Clock) {
    this.#privateKey = privateKey;
    this.#publicKey = createPublicKey(privateKey);
    const der = this.#publicKey.export({ type: "spki", format: "der" });
    this.#keyId = createHash("sha256").update(der).digest("base64url"); // as kube-apiserver names its keys
    this.#clock = clock;
  }

  static async create(clock: Clock): Promise<ServiceAccountIssuer> {
    const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: 2048 });
    return new ServiceAccountIssuer(privateKey, clock);
  }

  /** The public keys (RFC 7517). */
  get jwks(): { readonly keys: readonly JsonObject[] } {
    const { kty = "", n = "", e = "" } = this.#publicKey.export({ format: "jwk" });
    return { keys: [{ use: "sig", kty, kid: this.#keyId, alg: "RS256", n, e }] };
  }

  issue(order: TokenOrder): IssuedToken {
    const now = Math.floor(this.#clock.now() / 1000);
    const { name, namespace = "", uid } = order.serviceAccount.metadata;
    const pod = order.pod === undefined ? {} : { pod: { name: order.pod.metadata.name, uid: order.pod.metadata.uid } };
    const claims = {
      aud: order.audiences,
      exp: now + order.lifetimeSeconds,
      iat: now,
      iss: clusterIssuer,
      jti: randomUUID(),
      "kubernetes.io": { namespace, ...pod, serviceaccount: { name, uid } },
      nbf: now,
      sub: `system:serviceaccount:${namespace}:${name}`,
    };
    const signed = `${encode({ alg: "RS256", kid: this.#keyId })}.${encode(claims)}`;
    const signature = sign("sha256", Buffer.from(signed), this.#privateKey).toString("base64url");
    return { token: `${signed}.${signature}`, expiresAtMs: claims.exp * 1000 };
  }

  /** The claims of a token of ours that is valid now and for one of the audiences; undefined for any other token. */
  verify(token: string, audiences: readonly string[]): JsonObject | undefined {
    const claims = this.#signedClaims(token);
    const now = this.#clock.now() / 1000;
    const isCurrent = (numberAt(claims, "nbf") ?? Infinity) <= now && now < (numberAt(claims, "exp") ?? 0);
    const isForUs = textListAt(claims, "aud").some((audience) => audiences.includes(audience));
    return isCurrent && isForUs && textAt(claims, "iss") === clusterIssuer ? claims : undefined;
  }

  /** The claims of a token that our key has signed. */
  #signedClaims(token: string): JsonObject | undefined {
    const parts = token.split(".");
    const [header = "", payload = "", signature = ""] = parts;
    const { alg, kid } = decode(header) ?? {};
    if (parts.length !== 3 || alg !== "RS256" || kid !== this.#keyId) return undefined;
    const isOurs = verify("sha256", Buffer.from(`${header}.${payload}`), this.#publicKey, Buffer.from(signature, "base64url"));
    return isOurs ? decode(payload) : undefined;
  }
}

function encode(value: JsonObject): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decode(part: string): JsonObject | undefined {
  const value = parseJson(Buffer.from(part, "base64url").toString("utf8"));
  return isObject(value) ? value : undefined;
}
