import type { ClaimRule, ExpressionRule, ExtraMapping, Issuer, JwtAuthenticator, Mapping, PrefixedMapping } from "./configuration.ts";
import type { Expression, ExpressionCompiler, ExpressionPurpose } from "./expression.ts";
import type { ExpressionVariable } from "./expression-check.ts";
import { isCertificateBundle } from "./certificate-bundle.ts";
import type { Fields, Place, YamlReader } from "./yaml-reader.ts";

/**
 * Parses one entry of `jwt` by the rules of kube-apiserver's validation (k8s.io/apiserver/pkg/apis/apiserver/validation).
 * The result is to be used only when the reader has no problems.
 */
export class AuthenticatorParser {
  readonly #reader: YamlReader;
  readonly #compiler: ExpressionCompiler;

  constructor(reader: YamlReader, compiler: ExpressionCompiler) {
    this.#reader = reader;
    this.#compiler = compiler;
  }

  parse(place: Place): { readonly authenticator: JwtAuthenticator; readonly urlPlace: Place; readonly discoveryPlace: Place } {
    const fields = this.#reader.fields(place, ["issuer", "claimValidationRules", "claimMappings", "userValidationRules"]);
    const issuerFields = this.#reader.fields(fields("issuer"), issuerFieldNames);
    const mappings = this.#reader.fields(fields("claimMappings"), ["username", "groups", "uid", "extra"]);
    const issuer = this.#parseIssuer(issuerFields);
    const claimRules = this.#parseClaimRules(fields("claimValidationRules"));
    const username = this.#parsePrefixed(mappings("username"));
    if (username.type === "missing")
      this.#reader.add(mappings("username"), "claim or expression is required: one of them gives the username");
    const groups = this.#parsePrefixed(mappings("groups"));
    const uid = this.#parseUid(mappings("uid"));
    const extra = this.#parseExtra(mappings("extra"));
    const userRules = this.#parseUserRules(fields("userValidationRules"));
    this.#checkEmail(mappings("username"), username, { claimRules, extra });
    return {
      authenticator: {
        issuer,
        username: username.type === "missing" || username.type === "broken" ? { type: "claim", claim: "", prefix: "" } : username,
        groups: groups.type === "missing" || groups.type === "broken" ? undefined : groups,
        uid,
        extra,
        claimRules,
        userRules,
      },
      urlPlace: issuerFields("url"),
      discoveryPlace: issuerFields("discoveryURL"),
    };
  }

  #parseIssuer(fields: Fields): Issuer {
    const reader = this.#reader;
    const url = reader.text(fields("url"));
    if (url === "") this.#reader.add(fields("url"), "this is required: the issuer's URL, equal to the claim iss");
    else this.#checkUrl(fields("url"), url);
    const discoveryUrl = reader.text(fields("discoveryURL"));
    if (discoveryUrl !== "") {
      this.#checkUrl(fields("discoveryURL"), discoveryUrl);
      if (discoveryUrl.replace(/\/+$/, "") === url.replace(/\/+$/, "")) {
        reader.add(fields("discoveryURL"), "this must differ from url; leave it out to use the issuer's own discovery document");
      }
    }
    const certificateAuthority = reader.text(fields("certificateAuthority"));
    if (certificateAuthority !== "" && !isCertificateBundle(certificateAuthority)) {
      reader.add(fields("certificateAuthority"), "this must hold PEM certificates (-----BEGIN CERTIFICATE-----)");
    }
    const egress = reader.text(fields("egressSelectorType"));
    if (egress !== "" && egress !== "controlplane" && egress !== "cluster") {
      reader.add(
        fields("egressSelectorType"),
        "this must be controlplane or cluster; it has no effect here, where keys are fetched directly",
      );
    }
    return {
      url,
      discoveryUrl: discoveryUrl === "" ? undefined : discoveryUrl,
      certificateAuthority: certificateAuthority === "" ? undefined : certificateAuthority,
      audiences: this.#parseAudiences(fields),
    };
  }

  #checkUrl(place: Place, url: string): void {
    if (!url.startsWith("https://")) this.#reader.add(place, "the URL must start with https://");
    else if (!urlPattern.test(url) || !URL.canParse(url)) {
      this.#reader.add(place, "this is not a URL of host, port and path; it may have no user, query or fragment");
    }
  }

  #parseAudiences(fields: Fields): readonly string[] {
    const places = this.#reader.elements(fields("audiences"));
    const audiences = places.map((place) => (place.node === undefined ? "" : this.#reader.optionalText(place)));
    places.forEach((place, index) => {
      const audience = audiences[index];
      if (audience === "") this.#reader.add(place, "an audience may not be empty");
      else if (audience !== undefined && audiences.indexOf(audience) !== index) this.#reader.add(place, "this audience is named twice");
    });
    if (places.length === 0)
      this.#reader.add(fields("audiences"), "at least one audience is required: the value of aud that this cluster's tokens have");
    const policy = this.#reader.text(fields("audienceMatchPolicy"));
    if (policy !== "" && policy !== "MatchAny") this.#reader.add(fields("audienceMatchPolicy"), "this must be MatchAny");
    else if (policy === "" && places.length > 1)
      this.#reader.add(fields("audienceMatchPolicy"), "MatchAny is required with several audiences");
    return audiences.filter((audience) => audience !== undefined);
  }

  #parsePrefixed(place: Place): ParsedMapping {
    const fields = this.#reader.fields(place, ["claim", "prefix", "expression"]);
    const claim = this.#reader.text(fields("claim"));
    const source = this.#reader.text(fields("expression"));
    const prefix = this.#reader.optionalText(fields("prefix"));
    if (claim !== "" && source !== "") this.#reader.add(place, "claim and expression cannot both be set");
    if (source !== "") {
      if (prefix !== undefined)
        this.#reader.add(fields("prefix"), "this may not be set with expression; put the prefix into the expression");
      const expression = this.#compile(fields("expression"), source, { variable: "claims", purpose: "value" });
      return expression === undefined ? { type: "broken" } : { type: "expression", expression };
    }
    if (claim === "") return { type: "missing" };
    if (prefix === undefined) this.#reader.add(fields("prefix"), 'this is required with claim; write "" for no prefix');
    return { type: "claim", claim, prefix: prefix ?? "" };
  }

  #parseUid(place: Place): Mapping | undefined {
    const fields = this.#reader.fields(place, ["claim", "expression"]);
    const claim = this.#reader.text(fields("claim"));
    const source = this.#reader.text(fields("expression"));
    if (claim !== "" && source !== "") this.#reader.add(place, "claim and expression cannot both be set");
    if (claim !== "") return { type: "claim", claim };
    if (source === "") return undefined;
    const expression = this.#compile(fields("expression"), source, { variable: "claims", purpose: "value" });
    return expression === undefined ? undefined : { type: "expression", expression };
  }

  #parseExtra(list: Place): readonly ExtraMapping[] {
    const keys = new Set<string>();
    return this.#reader.elements(list).flatMap((place) => {
      const fields = this.#reader.fields(place, ["key", "valueExpression"]);
      const key = this.#reader.text(fields("key"));
      this.#checkExtraKey(fields("key"), key);
      if (keys.has(key)) this.#reader.add(fields("key"), "this key is named twice");
      keys.add(key);
      const source = this.#reader.text(fields("valueExpression"));
      if (source === "") this.#reader.add(fields("valueExpression"), "an expression is required");
      const expression = this.#compile(fields("valueExpression"), source, { variable: "claims", purpose: "value" });
      return expression === undefined ? [] : [{ key, expression }];
    });
  }

  #checkExtraKey(place: Place, key: string): void {
    const slash = key.indexOf("/");
    const domain = key.slice(0, Math.max(0, slash));
    if (!subdomainPattern.test(domain) || domain.length > 253 || !pathPattern.test(key.slice(slash + 1))) {
      this.#reader.add(place, "the key must be a domain and a path, as in example.org/team");
    } else if (key !== key.toLowerCase()) {
      this.#reader.add(place, "the key must be in lower case");
    } else if (/(^|\.)(kubernetes|k8s)\.io$/.test(domain)) {
      this.#reader.add(place, "the domains kubernetes.io and k8s.io are Kubernetes' own; use one of yours");
    }
  }

  #parseClaimRules(list: Place): readonly ClaimRule[] {
    const seen = new Set<string>();
    return this.#reader.elements(list).flatMap((place): readonly ClaimRule[] => {
      const fields = this.#reader.fields(place, ["claim", "requiredValue", "expression", "message"]);
      const text = (name: string): string => this.#reader.text(fields(name));
      const [claim, source] = [text("claim"), text("expression")];
      if ((claim === "") === (source === "")) {
        this.#reader.add(place, "exactly one of claim and expression is required");
        return [];
      }
      if (claim !== "" && text("message") !== "") this.#reader.add(fields("message"), "this may not be set with claim");
      if (source !== "" && text("requiredValue") !== "") this.#reader.add(fields("requiredValue"), "this may not be set with expression");
      const identity = `${claim === "" ? "expression" : "claim"} ${claim}${source}`;
      if (seen.has(identity)) this.#reader.add(place, "this rule is written twice");
      seen.add(identity);
      if (claim !== "") return [{ type: "claim", claim, requiredValue: text("requiredValue") }];
      return this.#toRule(fields, "claims");
    });
  }

  #parseUserRules(list: Place): readonly ExpressionRule[] {
    const seen = new Set<string>();
    return this.#reader.elements(list).flatMap((place) => {
      const fields = this.#reader.fields(place, ["expression", "message"]);
      const source = this.#reader.text(fields("expression"));
      if (source === "") this.#reader.add(fields("expression"), "an expression is required");
      if (seen.has(source)) this.#reader.add(place, "this rule is written twice");
      seen.add(source);
      return this.#toRule(fields, "user");
    });
  }

  #toRule(fields: Fields, variable: ExpressionVariable): readonly ExpressionRule[] {
    const source = this.#reader.text(fields("expression"));
    const expression = this.#compile(fields("expression"), source, { variable, purpose: "rule" });
    return expression === undefined ? [] : [{ type: "expression", expression, message: this.#reader.text(fields("message")) }];
  }

  /** An unverified address identifies nobody, so whoever maps it must look at email_verified too. */
  #checkEmail(
    place: Place,
    username: ParsedMapping,
    others: { readonly claimRules: readonly ClaimRule[]; readonly extra: readonly ExtraMapping[] },
  ): void {
    if (username.type !== "expression" || !username.expression.claims.has("email")) return;
    const rules = others.claimRules.filter((rule) => rule.type === "expression");
    const expressions = [username, ...rules, ...others.extra].map((user) => user.expression);
    if (expressions.some((expression) => expression.claims.has("email_verified"))) return;
    this.#reader.add(
      place,
      "an expression that uses claims.email needs claims.email_verified too, here, in an extra or in a claim validation rule, as in claims.?email_verified.orValue(true) == true",
    );
  }

  #compile(
    place: Place,
    source: string,
    use: { readonly variable: ExpressionVariable; readonly purpose: ExpressionPurpose },
  ): Expression | undefined {
    if (source === "") return undefined;
    const result = this.#compiler.compile(source, use.variable, use.purpose);
    if (result.type === "compiled") return result.expression;
    this.#reader.add(place, `the expression ${result.message}`);
    return undefined;
  }
}

/** A mapping; or none, where the file names none, or where its problem has been reported. */
type ParsedMapping = PrefixedMapping | { readonly type: "missing" } | { readonly type: "broken" };

const issuerFieldNames = ["url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"];

/** Host, port and path without user, query or fragment (RFC 3986), in characters that every URL parser reads alike. */
const urlPattern =
  /^https:\/\/(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:\/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?$/;

/** A DNS subdomain (RFC 1123) and an HTTP path, as in k8s.io/apimachinery/pkg/util/validation IsDomainPrefixedPath. */
const subdomainPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const pathPattern = /^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/;
