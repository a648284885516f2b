import { describe, expect, it } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { allowedReviewMs, deniedReviewMs, maxReviews } from "#agent/cluster/limits.ts";
import { AccessReviews } from "#agent/cluster/reviews.ts";
import type { AccessQuestion, ReviewedUser } from "#agent/cluster/reviews.ts";
import { codeOf } from "../apiserver/pool-maker.ts";
import { makeApi } from "./scripted-api.ts";
import type { ScriptedAnswer } from "./scripted-api.ts";

const alice: ReviewedUser = {
  username: "oidc:alice",
  uid: "1",
  groups: ["oidc:dev", "system:authenticated"],
  extra: { "example.com/a": ["x", "y"] },
};
const question: AccessQuestion = {
  verb: "impersonate",
  group: "",
  version: "",
  resource: "users",
  subresource: "",
  namespace: "",
  name: "bob",
};

function makeReviews(answer: (index: number) => ScriptedAnswer): ReturnType<typeof makeApi> & { readonly reviews: AccessReviews } {
  const made = makeApi((_call, index) => answer(index));
  return { ...made, reviews: new AccessReviews(made.api, made.clock) };
}

const yes = { status: 201, object: { status: { allowed: true } } };
const no = { status: 201, object: { status: { allowed: false, reason: "no rule" } } };

describe("a SubjectAccessReview", () => {
  it("asks for the user as they are, and leaves empty attributes out", async () => {
    const { reviews, calls } = makeReviews(() => yes);
    await reviews.isAllowed(alice, question);
    expect(calls[0]).toMatchObject({
      method: "POST",
      target: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
      object: {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: {
          user: "oidc:alice",
          uid: "1",
          groups: ["oidc:dev", "system:authenticated"],
          extra: { "example.com/a": ["x", "y"] },
          resourceAttributes: { verb: "impersonate", resource: "users", name: "bob" },
        },
      },
    });
    expect(JSON.stringify(calls[0]?.object)).not.toMatch(/subresource|namespace|"group"/);
  });

  it.each([
    ["allowed", { status: { allowed: true } }, true],
    ["not allowed", { status: { allowed: false } }, false],
    ["allowed and denied at once", { status: { allowed: true, denied: true } }, false],
    ["allowed in words only", { status: { allowed: "true" } }, false],
    ["allowed by a number", { status: { allowed: 1 } }, false],
    ["no answer", {}, false],
    ["an answer that is no object", { status: true }, false],
    ["allowed in the wrong place", { allowed: true, spec: { allowed: true } }, false],
  ])("of %s is judged right", async (_what, object, wanted) => {
    const { reviews } = makeReviews(() => ({ status: 201, object }));
    expect(await reviews.isAllowed(alice, question)).toBe(wanted);
  });

  it.each([
    ["is forbidden", { status: 403 }, "AGENT_CREDENTIAL"],
    ["fails in the apiserver", { status: 500 }, "AGENT_CREDENTIAL"],
    ["cannot be sent", new GatewayError("UPSTREAM_UNREACHABLE", "down"), "UPSTREAM_UNREACHABLE"],
  ] as const)("that %s rejects, and is not remembered", async (_what, answer, code) => {
    const { reviews, calls } = makeReviews(() => answer);
    expect([await codeOf(reviews.isAllowed(alice, question)), await codeOf(reviews.isAllowed(alice, question)), calls.length]).toEqual([
      code,
      code,
      2,
    ]);
  });
});

describe("what is remembered", () => {
  it("an allowed answer holds for ten seconds and no longer", async () => {
    const { reviews, calls, clock } = makeReviews((index) => (index === 0 ? yes : no));
    await reviews.isAllowed(alice, question);
    clock.advance(allowedReviewMs - 1);
    expect([await reviews.isAllowed(alice, question), calls.length]).toEqual([true, 1]);
    clock.advance(1);
    expect([await reviews.isAllowed(alice, question), calls.length]).toEqual([false, 2]);
  });

  it("a denied answer holds for one second and no longer", async () => {
    const { reviews, calls, clock } = makeReviews((index) => (index === 0 ? no : yes));
    await reviews.isAllowed(alice, question);
    clock.advance(deniedReviewMs - 1);
    expect([await reviews.isAllowed(alice, question), calls.length]).toEqual([false, 1]);
    clock.advance(1);
    expect([await reviews.isAllowed(alice, question), calls.length]).toEqual([true, 2]);
  });

  const others: readonly (readonly [string, Partial<ReviewedUser>, Partial<AccessQuestion>])[] = [
    ["another user", { username: "oidc:eve" }, {}],
    ["another uid", { uid: "2" }, {}],
    ["fewer groups", { groups: ["system:authenticated"] }, {}],
    ["the same groups joined into one", { groups: ["oidc:dev,system:authenticated"] }, {}],
    ["another extra", { extra: { "example.com/a": ["x"] } }, {}],
    ["another name", {}, { name: "admin" }],
    ["another verb", {}, { verb: "get" }],
    ["another namespace", {}, { namespace: "bob" }],
  ];

  it.each(others)("is not the answer for %s", async (_what, user, asked) => {
    const { reviews } = makeReviews((index) => (index === 0 ? yes : no));
    await reviews.isAllowed(alice, question);
    expect(await reviews.isAllowed({ ...alice, ...user }, { ...question, ...asked })).toBe(false);
  });

  it("is bounded", async () => {
    const { reviews, calls } = makeReviews(() => yes);
    for (let name = 0; name <= maxReviews; name += 1) await reviews.isAllowed(alice, { ...question, name: String(name) });
    await reviews.isAllowed(alice, { ...question, name: String(maxReviews) });
    expect(calls.length).toBe(maxReviews + 1);
    await reviews.isAllowed(alice, { ...question, name: "0" });
    expect(calls.length).toBe(maxReviews + 2);
  });

  it("the same question at the same time is asked once", async () => {
    const { reviews, calls } = makeReviews(() => yes);
    await Promise.all(Array.from({ length: 20 }, async () => reviews.isAllowed(alice, question)));
    expect(calls.length).toBe(1);
  });
});
