/**
 * The one token door of Sallyport, used by gateway and agent alike, each with its own keys.
 *
 * Who may come in is written in Kubernetes' own words: an AuthenticationConfiguration (apiserver.config.k8s.io/v1) that a
 * kube-apiserver takes unchanged. What must stay true: for every token the door gives the same username, uid, groups and
 * extra as the apiserver would, or it refuses; it is never more lenient. A file that the apiserver refuses is refused here,
 * and so is one whose meaning this door cannot reproduce, with all reasons at once. Every failure of any kind is a refusal.
 */
import { AuthenticatorParser } from "./authenticator-parser.ts";
import { createExpressionCompiler, type Expression } from "./expression.ts";
import { configurationLimits } from "./limits.ts";
import { type Place, YamlReader } from "./yaml-reader.ts";

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

/**
 * Parses and validates an AuthenticationConfiguration, YAML or JSON, of apiserver.config.k8s.io v1 or v1beta1. Expressions
 * are compiled; all problems are reported at once, each with its line.
 */
export function parseAuthenticationConfiguration(text: string, fileName: string): ConfigurationResult {
  const reader = new YamlReader(fileName);
  if (text.length > configurationLimits.maxFileBytes) {
    reader.addAt(0, `the file is larger than ${configurationLimits.maxFileBytes} bytes`);
    return { type: "invalid", problems: reader.problems };
  }
  const root = reader.parse(text);
  const configuration = root === undefined ? undefined : parseRoot(reader, root);
  if (configuration === undefined || reader.problems.length > 0) {
    return { type: "invalid", problems: reader.problems.toSorted((left, right) => left.line - right.line) };
  }
  return { type: "parsed", configuration };
}

function parseRoot(reader: YamlReader, root: Place): AuthenticationConfiguration {
  const fields = reader.fields(root, ["apiVersion", "kind", "jwt", "anonymous"]);
  if (!["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"].includes(reader.text(fields("apiVersion")))) {
    reader.add(fields("apiVersion"), "this must be apiserver.config.k8s.io/v1 (or v1beta1)");
  }
  if (reader.text(fields("kind")) !== "AuthenticationConfiguration") reader.add(fields("kind"), "this must be AuthenticationConfiguration");
  checkAnonymous(reader, fields("anonymous"));
  const places = reader.elements(fields("jwt"));
  if (places.length === 0) reader.add(fields("jwt"), "at least one issuer is required, or nobody could come in");
  if (places.length > configurationLimits.maxAuthenticators) {
    reader.add(fields("jwt"), `at most ${configurationLimits.maxAuthenticators} issuers are possible`);
    return { authenticators: [] };
  }
  const parser = new AuthenticatorParser(reader, createExpressionCompiler());
  const [urls, discoveryUrls] = [new Set<string>(), new Set<string>()];
  const authenticators = places.map((place) => {
    const { authenticator, urlPlace, discoveryPlace } = parser.parse(place);
    const { url, discoveryUrl } = authenticator.issuer;
    if (urls.has(url)) reader.add(urlPlace, "this issuer is named twice");
    if (discoveryUrl !== undefined && discoveryUrls.has(discoveryUrl)) reader.add(discoveryPlace, "this discovery URL is named twice");
    urls.add(url);
    if (discoveryUrl !== undefined) discoveryUrls.add(discoveryUrl);
    return authenticator;
  });
  return { authenticators };
}

function checkAnonymous(reader: YamlReader, place: Place): void {
  const fields = reader.fields(place, ["enabled", "conditions"]);
  const isEnabled = reader.truth(fields("enabled"));
  const conditions = reader.elements(fields("conditions"));
  for (const condition of conditions) reader.text(reader.fields(condition, ["path"])("path"));
  if (isEnabled || conditions.length > 0) {
    reader.add(place, "nobody is anonymous behind Sallyport; remove this, or set enabled: false without conditions");
  }
}
