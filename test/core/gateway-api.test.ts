import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  parseClusterList,
  parseClusterRegistration,
  parseClusterSummary,
  parseGatewayFailure,
  parseLoginConfiguration,
  parsePublicKeySet,
} from "#core/gateway-api.ts";
import { failureStatus } from "#core/kube/status.ts";

const key = { kty: "RSA", kid: "1", n: "AQAB", e: "AQAB" };
const login = { issuer: "https://issuer.example.com", clientId: "prod", scopes: ["openid"] };
const agent = { replica: "uid", version: "0.1.0", connectedAt: "2026-01-01T00:00:00Z", lanes: 2, roles: { tunnel: {} } };
const summary = { name: "prod", url: "https://gw.example.com/k/prod", agents: [agent], createdAt: "2026-01-01T00:00:00Z" };
const registration = {
  name: "prod",
  authenticationConfiguration: "kind: AuthenticationConfiguration\n",
  issuerKeys: { "https://issuer.example.com": { keys: [key] } },
  join: {
    issuer: "https://sa.example.com",
    jwks: { keys: [key] },
    audience: "https://gw.example.com/clusters/prod",
    subject: "system:serviceaccount:a:b",
  },
  login,
  allowSharedAudience: false,
};

describe("the parsers of the gateway API", () => {
  it.each([
    ["a login", parseLoginConfiguration, login],
    ["a cluster", parseClusterSummary, summary],
    ["a cluster with an agent's node and error", parseClusterSummary, { ...summary, agents: [{ ...agent, node: "n", lastError: "e" }] }],
    ["a registration", parseClusterRegistration, registration],
    ["a key set", parsePublicKeySet, { keys: [key] }],
  ])("take %s unchanged", (_, parse, document) => {
    expect(parse(document)).toEqual({ type: "parsed", value: document });
  });

  it("take a list of clusters", () => {
    expect(parseClusterList({ clusters: [summary] })).toEqual({ type: "parsed", value: [summary] });
  });

  it("leave out what they do not know", () => {
    expect(parseLoginConfiguration({ ...login, clientSecret: "x" })).toEqual({ type: "parsed", value: login });
  });

  it.each([
    ["no issuer", parseLoginConfiguration, { ...login, issuer: undefined }, "issuer must be text"],
    ["a script for an issuer", parseLoginConfiguration, { ...login, issuer: "javascript:alert(1)" }, "issuer must be an http or https URL"],
    ["a text for scopes", parseLoginConfiguration, { ...login, scopes: "openid" }, "scopes must be a list"],
    ["an endless client id", parseLoginConfiguration, { ...login, clientId: "x".repeat(2049) }, "clientId must be text of 1 to 2048"],
    ["a path for a name", parseClusterSummary, { ...summary, name: "../admin" }, "name must be a DNS label"],
    ["half a lane", parseClusterSummary, { ...summary, agents: [{ ...agent, lanes: 1.5 }] }, "agents[0].lanes must be a whole number"],
    ["no list", parseClusterList, [], "the document must be an object"],
    ["nothing", parseClusterRegistration, null, "the document must be an object"],
    [
      "a number for the configuration",
      parseClusterRegistration,
      { ...registration, authenticationConfiguration: 1 },
      "authenticationConfiguration must be text",
    ],
    [
      "a text for a switch",
      parseClusterRegistration,
      { ...registration, allowSharedAudience: "false" },
      "allowSharedAudience must be true or false",
    ],
    [
      "a private key",
      parseClusterRegistration,
      { ...registration, join: { ...registration.join, jwks: { keys: [{ ...key, d: "x" }] } } },
      "join.jwks.keys[0] is a private",
    ],
    ["a symmetric key", parsePublicKeySet, { keys: [{ kty: "oct", k: "x" }] }, "keys[0] is a private or symmetric key"],
    ["no key", parsePublicKeySet, { keys: [] }, "keys holds no key"],
    ["a hundred and one keys", parsePublicKeySet, { keys: Array.from({ length: 101 }, () => key) }, "more than 100 keys"],
    [
      "keys of a name that is no URL",
      parseClusterRegistration,
      { ...registration, issuerKeys: { issuer: { keys: [key] } } },
      'issuerKeys["issuer"] must be an http or https URL',
    ],
  ])("refuse %s", (_, parse, document, problem) => {
    expect(parse(document)).toEqual({ type: "invalid", problems: expect.arrayContaining([expect.stringContaining(problem)]) });
  });

  it("tell all problems at once", () => {
    expect(parseClusterRegistration({ name: "prod", join: registration.join })).toEqual({
      type: "invalid",
      problems: [
        "authenticationConfiguration must be text of at most 1048576 characters",
        "allowSharedAudience must be true or false",
        "issuerKeys must be an object",
      ],
    });
  });

  it("answer for every JSON value, and never throw", () => {
    const parsers = [
      parseClusterList,
      parseClusterRegistration,
      parseClusterSummary,
      parseGatewayFailure,
      parseLoginConfiguration,
      parsePublicKeySet,
    ];
    fc.assert(fc.property(fc.jsonValue(), (document) => parsers.forEach((parse) => parse(document))));
  });
});

describe("parseGatewayFailure", () => {
  it("reads the code and every cause", () => {
    expect(parseGatewayFailure(failureStatus("AGENT_OFFLINE", "no agent"))).toEqual({
      code: "AGENT_OFFLINE",
      message: "no agent",
      causes: ["no agent"],
    });
  });

  it.each([
    [
      "an apiserver's own Status",
      { kind: "Status", status: "Failure", reason: "Forbidden", message: "no", details: { causes: [{ reason: "FieldValueInvalid" }] } },
    ],
    ["a Status without details", { kind: "Status" }],
    ["a code that is a name of Object's", { kind: "Status", details: { causes: [{ reason: "constructor" }] } }],
    ["something else", { kind: "Pod" }],
    ["nothing", undefined],
  ])("finds none in %s", (_, document) => {
    expect(parseGatewayFailure(document)).toBeUndefined();
  });
});
