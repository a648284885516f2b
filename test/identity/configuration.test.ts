import { describe, expect, it } from "vitest";
import { listAudiences, parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { configurationLimits } from "#identity/limits.ts";
import { issuerUrl, makeConfiguration, makeConfigurationText } from "#test/identity/makers.ts";

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

function problemsOf(text: string): readonly string[] {
  const result = parseAuthenticationConfiguration(text, "a.yaml");
  return result.type === "invalid" ? result.problems.map((problem) => `${problem.file}:${problem.line}: ${problem.message}`) : [];
}

const certificate = `-----BEGIN CERTIFICATE-----
MIIBdDCCARmgAwIBAgIUJXx4JmH4vKZ0m5TrT0G8mX8q6PwwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----`;

describe("a configuration", () => {
  it("is read with all that it says", () => {
    const configuration = makeConfiguration(`${head}jwt:
- issuer:
    url: https://a.test
    discoveryURL: https://b.test/discovery
    audiences: [x, z]
    audienceMatchPolicy: MatchAny
    egressSelectorType: cluster
  claimMappings:
    username: {claim: sub, prefix: ""}
    groups: {expression: claims.groups}
    uid: {claim: oid}
    extra: [{key: example.org/team, valueExpression: claims.team}]
  claimValidationRules:
  - {claim: hd, requiredValue: example.org}
  - {expression: "claims.level == 3", message: too low}
  userValidationRules: [{expression: "user.username != 'root'", message: no root}]
- issuer: {url: "https://c.test", audiences: [x]}
  claimMappings: {username: {expression: claims.sub}}
anonymous: {enabled: false}
`);
    expect(configuration.authenticators).toMatchObject([
      {
        issuer: { url: "https://a.test", discoveryUrl: "https://b.test/discovery", certificateAuthority: undefined, audiences: ["x", "z"] },
        username: { type: "claim", claim: "sub", prefix: "" },
        groups: { type: "expression", expression: { source: "claims.groups" } },
        uid: { type: "claim", claim: "oid" },
        extra: [{ key: "example.org/team", expression: { source: "claims.team" } }],
        claimRules: [
          { type: "claim", claim: "hd", requiredValue: "example.org" },
          { type: "expression", expression: { source: "claims.level == 3" }, message: "too low" },
        ],
        userRules: [{ expression: { source: "user.username != 'root'" }, message: "no root" }],
      },
      {
        issuer: { url: "https://c.test", discoveryUrl: undefined },
        username: { type: "expression" },
        groups: undefined,
        uid: undefined,
        extra: [],
      },
    ]);
    expect(listAudiences(configuration)).toEqual(["x", "z"]);
  });

  it("may be JSON, and of v1beta1", () => {
    const document = {
      apiVersion: "apiserver.config.k8s.io/v1beta1",
      kind: "AuthenticationConfiguration",
      jwt: [{ issuer: { url: issuerUrl, audiences: ["a"] }, claimMappings: { username: { claim: "sub", prefix: "x:" } } }],
    };
    expect(makeConfiguration(JSON.stringify(document)).authenticators).toHaveLength(1);
  });

  it("takes a null for a field that is missing", () => {
    const mappings = "    username: {claim: sub, prefix: '', expression: null}\n    groups: null\n    extra:";
    expect(makeConfiguration(makeConfigurationText({ mappings })).authenticators).toMatchObject([{ groups: undefined, extra: [] }]);
  });

  it("names every problem at once, each with its line", () => {
    const text = `${head}jwt:
- issuer:
    url: http://a.test
    audiences: []
    extraField: 1
  claimMappings:
    username:
      claim: sub
    groups:
      claim: groups
      prefix: "x:"
      expression: claims.groups
    extra:
    - key: Team
      valueExpression: |
        claims.team.find('x')
  userValidationRules:
  - expression: user.nobody == 'x'
anonymous:
  enabled: true
`;
    expect(problemsOf(text)).toEqual(
      [
        "a.yaml:5: jwt[0].issuer.url: the URL must start with https://",
        "a.yaml:6: jwt[0].issuer.audiences: at least one audience is required: the value of aud that this cluster's tokens have",
        "a.yaml:7: unknown field jwt[0].issuer.extraField; the fields here are url, discoveryURL, certificateAuthority, audiences, audienceMatchPolicy, egressSelectorType",
        'a.yaml:10: jwt[0].claimMappings.username.prefix: this is required with claim; write "" for no prefix',
        "a.yaml:12: jwt[0].claimMappings.groups: claim and expression cannot both be set",
        "a.yaml:13: jwt[0].claimMappings.groups.prefix: this may not be set with expression; put the prefix into the expression",
        "a.yaml:16: jwt[0].claimMappings.extra[0].key: the key must be a domain and a path, as in example.org/team",
        expect.stringMatching(
          /^a\.yaml:17: jwt\[0\]\.claimMappings\.extra\[0\]\.valueExpression: the expression cannot be used: the function find\(\)/,
        ),
        "a.yaml:20: jwt[0].userValidationRules[0].expression: the expression cannot be used: No such key: nobody",
        "a.yaml:22: anonymous: nobody is anonymous behind Sallyport; remove this, or set enabled: false without conditions",
      ].map((line) => (typeof line === "string" ? expect.stringContaining(line) : line)),
    );
  });

  const rows: readonly (readonly [string, string, string])[] = [
    ["nothing", "", "the file is empty"],
    ["no object", "hello", "this must be an object"],
    ["broken YAML", "jwt: [", "not valid YAML"],
    ["a tag of its own", `${head}jwt: !custom []`, "not valid YAML"],
    ["a field twice", `${head}kind: AuthenticationConfiguration\n`, "not valid YAML"],
    ["two documents", `${makeConfigurationText()}\n---\n{}`, "more than one YAML document"],
    ["another kind", makeConfigurationText().replace("kind: Auth", "kind: Other"), "kind: this must be AuthenticationConfiguration"],
    ["another version", makeConfigurationText().replace("/v1", "/v1alpha1"), "apiVersion: this must be"],
    ["no issuer", `${head}jwt: []`, "at least one issuer"],
    [
      "a truth for an audience",
      makeConfigurationText({ issuer: `    url: ${issuerUrl}\n    audiences: [yes]` }),
      "audiences[0]: this must be a text",
    ],
    [
      "a number for a claim",
      makeConfigurationText({ mappings: '    username: {claim: 7, prefix: ""}' }),
      "username.claim: this must be a text",
    ],
    ["an anchor", makeConfigurationText({ mappings: "    username: {claim: &a sub, prefix: *a}" }), "anchors (*name) are not supported"],
    ["a merge key", makeConfigurationText({ mappings: '    username: {<<: {claim: sub}, prefix: ""}' }), "unknown field"],
    [
      "an empty authority",
      makeConfigurationText({ issuer: `    url: ${issuerUrl}\n    audiences: [a]\n    certificateAuthority: hello` }),
      "PEM certificates",
    ],
    [
      "a truncated certificate",
      makeConfigurationText({
        issuer: `    url: ${issuerUrl}\n    audiences: [a]\n    certificateAuthority: ${JSON.stringify(certificate)}`,
      }),
      "PEM certificates",
    ],
    [
      "an address nobody verifies",
      makeConfigurationText({ mappings: "    username: {expression: claims.email}" }),
      "needs claims.email_verified too",
    ],
    [
      "a rule twice",
      makeConfigurationText({ rest: "  claimValidationRules: [{claim: a, requiredValue: x}, {claim: a, requiredValue: y}]" }),
      "written twice",
    ],
    ["too many issuers", `${head}jwt:\n${"- {}\n".repeat(configurationLimits.maxAuthenticators + 1)}`, "at most 64 issuers"],
    ["too many bytes", "#".repeat(configurationLimits.maxFileBytes + 1), "larger than"],
  ];

  it.each(rows)("with %s is refused", (_, text, message) => {
    expect(problemsOf(text)).toContainEqual(expect.stringContaining(message));
  });

  it.each([
    "https://user@a.test",
    "https://user:pass@a.test",
    "https://a.test/?q",
    "https://a.test/#f",
    "https://a.test/%zz",
    "https://a.test/a b",
    "https://a.test\\b",
    "https://a.test:99999",
    "https://",
    "HTTPS://a.test",
    " https://a.test",
    "file:///etc/passwd",
  ])("with the URL %j is refused", (url) => {
    const text = makeConfigurationText({ issuer: `    url: ${JSON.stringify(url)}\n    audiences: [a]` });
    expect(problemsOf(text)).toHaveLength(1);
  });

  it.each([
    "https://a.test",
    "https://a.test/",
    "https://a.test:8443/realms/x%20y",
    "https://127.0.0.1:1/i/a",
    "https://[::1]:8443/x",
    "https://a_b.test",
  ])("with the URL %j is read", (url) => {
    const text = makeConfigurationText({ issuer: `    url: ${JSON.stringify(url)}\n    audiences: [a]` });
    expect(problemsOf(text)).toEqual([]);
  });

  it("with an expression over an address that a rule verifies is read", () => {
    const rest = '  claimValidationRules: [{expression: "claims.?email_verified.orValue(true) == true"}]';
    expect(problemsOf(makeConfigurationText({ mappings: "    username: {expression: claims.email}", rest }))).toEqual([]);
  });
});
