/** A CEL condition over a verified user, outside an AuthenticationConfiguration: such as who administers a gateway. */
import type { Identity } from "#core/access/identity.ts";
import { createExpressionCompiler } from "./expression.ts";
import type { JsonValue } from "./strict-json.ts";

/** Whether a user meets the condition; an evaluation that fails means no. */
export type UserRule = (identity: Identity) => boolean;

/** A usable rule, or why it is none; the message completes "the expression …". */
export type UserRuleResult =
  | { readonly type: "compiled"; readonly rule: UserRule }
  | { readonly type: "invalid"; readonly message: string };

/** Compiles a condition over `user` (username, uid, groups, extra), such as `"admins" in user.groups`. */
export function compileUserRule(source: string): UserRuleResult {
  const compiled = createExpressionCompiler().compile(source, "user", "rule");
  if (compiled.type === "refused") return { type: "invalid", message: compiled.message };
  const { expression } = compiled;
  return {
    type: "compiled",
    rule: (identity) => {
      const result = expression.evaluate(toUser(identity));
      return result.type === "truth" && result.value;
    },
  };
}

function toUser(identity: Identity): ReadonlyMap<string, JsonValue> {
  return new Map<string, JsonValue>([
    ["username", identity.username],
    ["uid", identity.uid],
    ["groups", identity.groups],
    ["extra", new Map<string, JsonValue>(Object.entries(identity.extra))],
  ]);
}
