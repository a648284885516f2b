/**
 * The one token door of Sallyport, used by gateway and agent alike, each with its own keys.
 *
 * Who may come in is written in Kubernetes' own words: an AuthenticationConfiguration (apiserver.config.k8s.io/v1) that a
 * kube-apiserver takes unchanged. What must stay true: for every token the door gives the same username, uid, groups and
 * extra as the apiserver would, or it refuses; it is never more lenient. A file that the apiserver refuses is refused here,
 * and so is one whose meaning this door cannot reproduce, with all reasons at once. Every failure of any kind is a refusal.
 */
import type { Expression } from "./expression.ts";

/** A parsed and validated AuthenticationConfiguration: its JWT authenticators in file order, each issuer once. */
export interface AuthenticationConfiguration {
  readonly authenticators: readonly JwtAuthenticator[];
}

/** One entry of `jwt`: an issuer, how its claims become a user, and which tokens and users it accepts. */
export interface JwtAuthenticator {
  readonly issuer: Issuer;
  readonly username: PrefixedMapping;
  readonly groups: PrefixedMapping | undefined;
  readonly uid: Mapping | undefined;
  readonly extra: readonly ExtraMapping[];
  readonly claimRules: readonly ClaimRule[];
  readonly userRules: readonly ExpressionRule[];
}

/** Where tokens come from, whom they must be meant for, and where the issuer's keys are found. */
export interface Issuer {
  /** The exact value of the claim `iss`. */
  readonly url: string;
  /** Where the discovery document is fetched, when not below `url`. */
  readonly discoveryUrl: string | undefined;
  /** PEM certificates to trust when fetching from this issuer; undefined means the system's. */
  readonly certificateAuthority: string | undefined;
  /** A token must name at least one (audienceMatchPolicy MatchAny). */
  readonly audiences: readonly string[];
}

/** A claim taken as it is, or a CEL expression over `claims`. */
export type Mapping = { readonly type: "claim"; readonly claim: string } | { readonly type: "expression"; readonly expression: Expression };

/** As `Mapping`, with the text put before a claim's value. */
export type PrefixedMapping =
  | { readonly type: "claim"; readonly claim: string; readonly prefix: string }
  | { readonly type: "expression"; readonly expression: Expression };

/** One extra attribute: a domain-prefixed lower-case key and the expression for its values. */
export interface ExtraMapping {
  readonly key: string;
  readonly expression: Expression;
}

/** A condition every token must meet: a claim with a fixed string value, or an expression over `claims`. */
export type ClaimRule = { readonly type: "claim"; readonly claim: string; readonly requiredValue: string } | ExpressionRule;

/** An expression that must be true, and the message when it is not. */
export interface ExpressionRule {
  readonly type: "expression";
  readonly expression: Expression;
  readonly message: string;
}

/** One thing that is wrong with a file: where, and in one sentence what, why and what to do. */
export interface ConfigurationProblem {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

/** A usable configuration, or every problem of the file. */
export type ConfigurationResult =
  | { readonly type: "parsed"; readonly configuration: AuthenticationConfiguration }
  | { readonly type: "invalid"; readonly problems: readonly ConfigurationProblem[] };

/** All audiences of a configuration, sorted, each once: a cluster should share none of them with another. */
export function listAudiences(configuration: AuthenticationConfiguration): readonly string[] {
  return [...new Set(configuration.authenticators.flatMap((authenticator) => authenticator.issuer.audiences))].toSorted();
}
