/** Keys for browser sessions, for one test run. */
import { randomBytes } from "node:crypto";

export function createSessionKeys(): string {
  return `k1:${randomBytes(32).toString("base64url")}`;
}
