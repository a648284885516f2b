import { expect, test } from "vitest";
import { verifyAtCluster } from "#workers/routes/verify-person.ts";

type Cluster = Parameters<typeof verifyAtCluster>[0];
type Session = Parameters<typeof verifyAtCluster>[1];

const own = "https://gateway.example/issuer";

/** A cluster whose door takes what is named here, each as a token of that issuer. */
function cluster(issuers: Readonly<Record<string, string>>): Cluster {
  const verify = async (token: string) => (token in issuers ? { type: "verified", issuer: issuers[token] } : { type: "refused" });
  return { door: { verify } } as unknown as Cluster; // all that is used of it
}

function session(...tokens: readonly string[]): Session {
  return { signIns: tokens.map((idToken) => ({ idToken })) } as unknown as Session; // all that is read of it
}

test("the first token that the cluster's door takes says who the person is", async () => {
  const taken = await verifyAtCluster(cluster({ b: "https://b.example", c: "https://c.example" }), session("a", "b", "c"), own);
  expect(taken?.issuer).toBe("https://b.example");
});

test("nobody is anybody by a token that the door refuses, or by one of the gateway's own", async () => {
  expect(await verifyAtCluster(cluster({}), session("a"), own)).toBeUndefined();
  expect(await verifyAtCluster(cluster({ a: own }), session("a"), own)).toBeUndefined();
});
