import { describe, expect, it } from "vitest";
import { excessRules, findExcessRights, impersonatorRules } from "#agent/cluster/own-rights.ts";
import type { NeededRule } from "#agent/cluster/own-rights.ts";
import { codeOf } from "../apiserver/pool-maker.ts";
import { makeApi } from "./scripted-api.ts";

const needed: readonly NeededRule[] = [
  ...impersonatorRules,
  { verbs: ["get", "update"], apiGroups: [""], resources: ["secrets"], resourceNames: ["sallyport-agent-key"] },
];

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}

/** What SelfSubjectRulesReview says to every ServiceAccount of a Kubernetes 1.34. */
const everybody = {
  resourceRules: [
    { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] },
    { verbs: ["create"], apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"] },
  ],
  nonResourceRules: [
    {
      verbs: ["get"],
      nonResourceURLs: ["/.well-known/openid-configuration/", "/.well-known/openid-configuration", "/openid/v1/jwks/", "/openid/v1/jwks"],
    },
    { verbs: ["get"], nonResourceURLs: ["/healthz", "/livez", "/readyz", "/version", "/version/"] },
    {
      verbs: ["get"],
      nonResourceURLs: [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
      ],
    },
  ],
  incomplete: true,
};

describe("a rule of the agent's own", () => {
  const cases: readonly (readonly [string, Rule, readonly string[]])[] = [
    ["to impersonate users and groups", { verbs: ["impersonate"], apiGroups: [""], resources: ["users", "groups"] }, []],
    ["to impersonate named groups", { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: ["dev"] }, []],
    [
      "to impersonate extras",
      { verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: ["userextras/example.com/a", "uids"] },
      [],
    ],
    ["to review", { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"] }, []],
    [
      "for its own Secret",
      { verbs: ["get", "update"], apiGroups: [""], resources: ["secrets"], resourceNames: ["sallyport-agent-key"] },
      [],
    ],
    ["for every Secret", { verbs: ["get"], apiGroups: [""], resources: ["secrets"] }, ["get secrets"]],
    [
      "for its own Secret and another",
      { verbs: ["get"], apiGroups: [""], resources: ["secrets"], resourceNames: ["sallyport-agent-key", "other"] },
      ["get secrets (sallyport-agent-key, other)"],
    ],
    [
      "to delete its Secret",
      { verbs: ["delete"], apiGroups: [""], resources: ["secrets"], resourceNames: ["sallyport-agent-key"] },
      ["delete secrets (sallyport-agent-key)"],
    ],
    ["for everything", { verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, ["* *.*"]],
    ["to impersonate everything", { verbs: ["impersonate"], apiGroups: ["*"], resources: ["*"] }, ["impersonate *.*"]],
    ["with every verb on users", { verbs: ["*"], apiGroups: [""], resources: ["users"] }, ["* users"]],
    ["for one thing more in a list", { verbs: ["impersonate"], apiGroups: [""], resources: ["users", "nodes"] }, ["impersonate nodes"]],
    [
      "for an extra in the wrong group",
      { verbs: ["impersonate"], apiGroups: [""], resources: ["userextras/a"] },
      ["impersonate userextras/a"],
    ],
    [
      "for a sub-resource of a needed one",
      { verbs: ["get"], apiGroups: [""], resources: ["secrets/status"], resourceNames: ["sallyport-agent-key"] },
      ["get secrets/status (sallyport-agent-key)"],
    ],
    ["to open pods' ports", { verbs: ["create"], apiGroups: [""], resources: ["pods/portforward"] }, ["create pods/portforward"]],
  ];

  it.each(cases)("%s is judged right", (_what, rule, excess) => {
    expect(excessRules({ ...everybody, resourceRules: [...everybody.resourceRules, rule] }, needed)).toEqual(excess);
  });

  it.each([
    ["get", "/metrics", ["get /metrics"]],
    ["get", "/logs/*", ["get /logs/*"]],
    ["get", "*", ["get *"]],
    ["post", "/api", ["post /api"]],
    ["*", "*", ["* *"]],
    ["get", "/readyz", []],
  ])("to %s %s is judged right", (verb, path, excess) => {
    expect(excessRules({ ...everybody, nonResourceRules: [{ verbs: [verb], nonResourceURLs: [path] }] }, needed)).toEqual(excess);
  });
});

describe("the look at the agent's own rights", () => {
  it("asks in each namespace, and names what is too much once", async () => {
    const { api, calls } = makeApi(() => ({
      status: 201,
      object: { status: { resourceRules: [{ verbs: ["list"], apiGroups: [""], resources: ["pods"] }] } },
    }));
    expect(await findExcessRights(api, ["sallyport-system", "default"], needed)).toEqual(["list pods"]);
    expect(calls.map(({ object }) => object?.["spec"])).toEqual([{ namespace: "sallyport-system" }, { namespace: "default" }]);
  });

  it("finds nothing in what every ServiceAccount may", async () => {
    expect(
      await findExcessRights(makeApi(() => ({ status: 201, object: { status: everybody } })).api, ["default"], impersonatorRules),
    ).toEqual([]);
  });

  it("that is refused is no success", async () => {
    expect(await codeOf(findExcessRights(makeApi(() => ({ status: 403 })).api, ["default"], needed))).toBe("AGENT_CREDENTIAL");
  });
});
