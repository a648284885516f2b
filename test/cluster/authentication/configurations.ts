/** Files that both refuse, and files that the door alone refuses because it cannot be sure of their meaning. */

/** A file; the issuer's URL is one that answers, with the authority that vouches for it. */
export interface FileCase {
  readonly name: string;
  readonly text: (url: string, authorityPem: string) => string;
}

/** A file that the apiserver takes; `stricter` is the line of docs/security.md because of which the door does not. */
export interface StricterFile extends FileCase {
  readonly stricter: string;
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
const username = 'username: {claim: sub, prefix: ""}';

function file(name: string, write: (url: string) => string): FileCase {
  return { name, text: (url) => `${head}jwt:\n${write(url)}\n` };
}

function issuer(name: string, write: (url: string) => string): FileCase {
  return file(name, (url) => `- issuer: {${write(url)}}\n  claimMappings: {${username}}`);
}

function mappings(name: string, text: string): FileCase {
  return file(name, (url) => `- issuer: {url: "${url}", audiences: [a]}\n  claimMappings: ${text}`);
}

function rules(name: string, text: string): FileCase {
  return file(name, (url) => `- issuer: {url: "${url}", audiences: [a]}\n  claimMappings: {${username}}\n  ${text}`);
}

export const brokenFiles: readonly FileCase[] = [
  { name: "of another kind", text: () => "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\njwt: []\n" },
  { name: "of an unknown version", text: () => "apiVersion: apiserver.config.k8s.io/v9\nkind: AuthenticationConfiguration\njwt: []\n" },
  {
    name: "with an unknown field",
    text: (url) => `${head}jwts: []\njwt: [{issuer: {url: "${url}", audiences: [a]}, claimMappings: {${username}}}]\n`,
  },
  {
    name: "with a field twice",
    text: (url) => `${head}jwt:\n- issuer: {url: "${url}", url: "${url}", audiences: [a]}\n  claimMappings: {${username}}\n`,
  },
  { name: "that is no YAML", text: () => `${head}jwt: [\n` },
  { name: "with a list for an object", text: () => `${head}jwt: {issuer: x}\n` },
  issuer("without an issuer's URL", () => "audiences: [a]"),
  issuer("with an http URL", (url) => `url: "${url.replace("https", "http")}", audiences: [a]`),
  issuer("with a query in the URL", (url) => `url: "${url}?a=b", audiences: [a]`),
  issuer("with a fragment in the URL", (url) => `url: "${url}#a", audiences: [a]`),
  issuer("with a user in the URL", () => 'url: "https://user@127.0.0.1", audiences: [a]'),
  issuer("with a URL that is none", () => 'url: "https://127.0.0.1:port", audiences: [a]'),
  issuer("without audiences", (url) => `url: "${url}"`),
  issuer("with an empty audience", (url) => `url: "${url}", audiences: [""]`),
  issuer("with an audience twice", (url) => `url: "${url}", audiences: [a, a], audienceMatchPolicy: MatchAny`),
  issuer("with two audiences and no policy", (url) => `url: "${url}", audiences: [a, b]`),
  issuer("with an unknown policy", (url) => `url: "${url}", audiences: [a], audienceMatchPolicy: MatchAll`),
  issuer("with an audience that is a number", (url) => `url: "${url}", audiences: [7]`),
  issuer("with an audience that YAML reads as a truth", (url) => `url: "${url}", audiences: [yes]`),
  issuer("with the discovery URL of the issuer", (url) => `url: "${url}", audiences: [a], discoveryURL: "${url}/"`),
  issuer("with an http discovery URL", (url) => `url: "${url}", audiences: [a], discoveryURL: "http://127.0.0.1/x"`),
  issuer("with an authority that is no PEM", (url) => `url: "${url}", audiences: [a], certificateAuthority: hello`),
  issuer("with an unknown egress", (url) => `url: "${url}", audiences: [a], egressSelectorType: moon`),
  file("with an issuer twice", (url) => `- &x {issuer: {url: "${url}", audiences: [a]}, claimMappings: {${username}}}\n- *x`),
  mappings("without a username", "{}"),
  mappings("with a claim and an expression", '{username: {claim: sub, prefix: "", expression: claims.sub}}'),
  mappings("with a claim and no prefix", "{username: {claim: sub}}"),
  mappings("with an expression and a prefix", '{username: {expression: claims.sub, prefix: "x"}}'),
  mappings("with groups without a prefix", `{${username}, groups: {claim: groups}}`),
  mappings("with a uid of both kinds", `{${username}, uid: {claim: sub, expression: claims.sub}}`),
  mappings("with an extra key without a domain", `{${username}, extra: [{key: team, valueExpression: claims.sub}]}`),
  mappings("with an extra key in upper case", `{${username}, extra: [{key: example.org/Team, valueExpression: claims.sub}]}`),
  mappings("with an extra key of Kubernetes", `{${username}, extra: [{key: x.kubernetes.io/team, valueExpression: claims.sub}]}`),
  mappings(
    "with an extra key twice",
    `{${username}, extra: [{key: a.b/c, valueExpression: claims.sub}, {key: a.b/c, valueExpression: claims.iss}]}`,
  ),
  mappings("with an extra without an expression", `{${username}, extra: [{key: a.b/c}]}`),
  mappings("with an address nobody verifies", "{username: {expression: claims.email}}"),
  mappings("with an expression that does not parse", '{username: {expression: "claims."}}'),
  mappings("with an unknown variable", '{username: {expression: "user.username"}}'),
  mappings("with an unknown function", '{username: {expression: "claims.sub.shout()"}}'),
  mappings("with a loop over a claim of any type", `{${username}, groups: {expression: "claims.groups.map(g, g)"}}`),
  mappings("with a list of several types", `{${username}, groups: {expression: "['a', 1]"}}`),
  rules("with a rule of both kinds", "claimValidationRules: [{claim: a, expression: claims.a == 1}]"),
  rules("with a rule of no kind", "claimValidationRules: [{message: x}]"),
  rules("with a message for a claim", "claimValidationRules: [{claim: a, message: x}]"),
  rules("with a value for an expression", 'claimValidationRules: [{expression: "claims.a == 1", requiredValue: x}]'),
  rules("with a rule twice", "claimValidationRules: [{claim: a, requiredValue: x}, {claim: a, requiredValue: y}]"),
  rules("with a rule that may be no truth", "claimValidationRules: [{expression: claims.email_verified}]"),
  rules("with a rule that is a text", `claimValidationRules: [{expression: "'x'"}]`),
  rules("with a user rule without an expression", "userValidationRules: [{message: x}]"),
  rules("with an unknown field of the user", "userValidationRules: [{expression: \"user.name == 'x'\"}]"),
  rules("with claims in a user rule", "userValidationRules: [{expression: \"claims.sub == 'x'\"}]"),
];

/** `authority` makes the apiserver's own fetch from the issuer succeed, without which it does not take a file. */
function authority(pem: string): string {
  return `certificateAuthority: ${JSON.stringify(pem)}`;
}

export const unsupportedFiles: readonly StricterFile[] = [
  { name: "without any issuer", stricter: "config-empty", text: () => `${head}jwt: []\n` },
  {
    name: "with a reference to an anchor",
    stricter: "config-yaml",
    text: (url, pem) =>
      `${head}jwt:\n- issuer: {url: "${url}", audiences: [&a x], ${authority(pem)}}\n  claimMappings: {username: {claim: *a, prefix: ""}}\n`,
  },
  {
    name: "with a second document",
    stricter: "config-yaml",
    text: (url, pem) =>
      `${head}jwt:\n- issuer: {url: "${url}", audiences: [x], ${authority(pem)}}\n  claimMappings: {${username}}\n---\nkind: Other\n`,
  },
];

/** Expressions for a username that the apiserver takes. */
export const unsupportedExpressions: readonly { readonly expression: string; readonly stricter: string }[] = [
  { expression: "claims.sub.find('[a-z]+')", stricter: "cel-function" },
  { expression: "url(claims.iss).getHost()", stricter: "cel-function" },
  { expression: "string(timestamp(claims.at))", stricter: "cel-function" },
  { expression: "sets.contains(claims.groups, ['dev']) ? 'a' : 'b'", stricter: "cel-function" },
  { expression: "claims.groups.sort()[0]", stricter: "cel-function" },
  { expression: "'%s'.format(['x'])", stricter: "cel-function" },
  { expression: "claims.?sub.optMap(s, s + 'x').orValue('none')", stricter: "cel-function" },
  { expression: "claims.sub.matches(claims.pattern) ? 'a' : 'b'", stricter: "cel-pattern" },
  { expression: "claims.sub.matches('[[:alpha:]]') ? 'a' : 'b'", stricter: "cel-pattern" },
  { expression: "claims.csv.split(',')", stricter: "cel-split" },
  { expression: "claims.sub < 'b' ? 'a' : 'b'", stricter: "cel-order" },
  { expression: "string(claims.level / claims.level)", stricter: "cel-division" },
  { expression: "true == ('a' in claims.team) ? 'a' : 'b'", stricter: "cel-order" },
  { expression: "claims.sub in [] ? 'a' : 'b'", stricter: "cel-literal" },
  { expression: "claims == claims ? 'a' : 'b'", stricter: "cel-variable" },
  { expression: "claims.team.x__dash__y", stricter: "cel-name" },
  { expression: "string(-claims.level)", stricter: "cel-literal" },
  { expression: "claims.level == 5u ? 'a' : 'b'", stricter: "cel-literal" },
  { expression: "{1: 'a'}[1]", stricter: "cel-literal" },
];
