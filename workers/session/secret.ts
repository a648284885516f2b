/** The random secrets that browsers carry, and what is made of them. A secret is stored as its hash only. */
import { base64url } from "jose";

const secretBytes = 32;

/** 256 random bits, base64url: 43 characters. */
export function createSecret(): string {
  return base64url.encode(crypto.getRandomValues(new Uint8Array(secretBytes)));
}

/** Whether a text can be one of our secrets; whatever else comes as a cookie or parameter is not looked up. */
export function isSecret(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text);
}

/** SHA-256 in hexadecimal: what is stored and looked up instead of a secret. The secrets are random, so nothing slower is needed. */
export async function hashSecret(secret: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The token that a page's forms carry: only who has the cookie's secret can make it, so no other site can. */
export async function formToken(secret: string): Promise<string> {
  const encoder = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return base64url.encode(new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode("sallyport form"))));
}

/** Compares two texts in a time that does not tell where they differ. */
export function isSameSecret(left: string, right: string): boolean {
  let difference = left.length ^ right.length;
  for (let index = 0; index < left.length; index++) difference |= left.charCodeAt(index) ^ right.charCodeAt(index);
  return difference === 0;
}
