/** The version of the cluster's apiservers. */
import { GatewayError } from "#core/errors.ts";
import { textField } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";

export interface ServerVersion {
  readonly major: number;
  readonly minor: number;
  /** As the apiserver writes it, such as `v1.34.4+k3s1`. */
  readonly gitVersion: string;
}

/** Asks /version; with apiservers of two versions it is that of one of them. Rejects with a GatewayError. */
export async function readServerVersion(api: ClusterApi): Promise<ServerVersion> {
  const answer = await api.get("/version");
  if (answer.type === "refused") throw new GatewayError("UPSTREAM_INVALID", `the apiserver answered /version with ${answer.status}`);
  const major = Number.parseInt(textField(answer.object, "major"), 10);
  const minor = Number.parseInt(textField(answer.object, "minor"), 10); // some providers write "34+"
  if (Number.isNaN(major) || Number.isNaN(minor)) throw new GatewayError("UPSTREAM_INVALID", "the apiserver's /version names no version");
  return { major, minor, gitVersion: textField(answer.object, "gitVersion") };
}
