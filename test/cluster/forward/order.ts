/** What the dialer in its namespace is told to do. */
import type { JsonObject } from "#core/json-fields.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";

export interface DialOrder {
  readonly target: ForwardTarget;
  /** Objects by the path that they are read at. */
  readonly objects: Readonly<Record<string, JsonObject>>;
}
