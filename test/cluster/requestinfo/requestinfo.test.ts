import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { parseRequest } from "#core/kube/request-path.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import { createRandom, generateRequest } from "./generator.ts";
import { askOracle, buildOracle } from "./oracle.ts";
import type { OracleAnswer, Question } from "./oracle.ts";

/** Another run can take another seed: SALLYPORT_FUZZ_SEED. The default keeps failures repeatable. */
const seed = Number(process.env["SALLYPORT_FUZZ_SEED"] ?? 20_251_122);
const requestCount = 200_000;
const buildTimeoutMs = 300_000;

let program = "";
beforeAll(async () => {
  program = await buildOracle();
}, buildTimeoutMs);

/** The fields both sides have, as the oracle writes them; a proxied path is not compared, because its tail stays encoded here. */
function readingOf(request: KubeRequest): Partial<OracleAnswer> {
  if (request.type === "nonResource") return { isResource: false, verb: request.verb, path: request.path };
  const { verb, apiGroup, apiVersion, namespace, resource, subresource, name, fieldSelector, labelSelector } = request;
  const path = request.proxyTail === undefined ? { path: request.path } : {};
  return { isResource: true, verb, apiGroup, apiVersion, namespace, resource, subresource, name, fieldSelector, labelSelector, ...path };
}

interface Accepted {
  readonly question: Question;
  readonly request: KubeRequest;
}

function accept(questions: readonly Question[]): readonly Accepted[] {
  return questions.flatMap((question) => {
    const request = parseRequest(...question);
    return request.type === "invalid" ? [] : [{ question, request }];
  });
}

describe("the request grammar beside Kubernetes' RequestInfoFactory", () => {
  test(
    `reads every one of ${requestCount} generated requests that it lets pass as Kubernetes does`,
    { timeout: buildTimeoutMs },
    async () => {
      const random = createRandom(seed);
      const questions = Array.from({ length: requestCount }, () => generateRequest(random));
      const accepted = accept(questions);
      const answers = await askOracle(
        program,
        accepted.map(({ question }) => question),
      );
      const different = accepted.filter(({ request }, index) => {
        const answer = answers[index];
        return answer === undefined || answer.error !== undefined || !isDeepStrictEqual({ ...answer, ...readingOf(request) }, answer);
      });
      expect(answers).toHaveLength(accepted.length);
      expect(different.slice(0, 10)).toEqual([]);
      expect(accepted.length).toBeGreaterThan(requestCount / 4);
    },
  );

  test("lets every plain request pass that Kubernetes understands", async () => {
    const paths = [
      "/api/v1/pods",
      "/apis/apps/v1/namespaces/a/deployments/x/scale",
      "/api/v1/namespaces/a/pods?labelSelector=a%20in%20(b,c)&limit=500",
      "/version",
      "/openapi/v3/apis/apps/v1?hash=AB",
      "/api/v1/watch/pods",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
    ];
    const questions = paths.map((path): Question => ["GET", path]);
    const answers = await askOracle(program, questions);
    expect(accept(questions).map(({ request }) => readingOf(request))).toEqual(
      answers.map((answer) => expect.objectContaining(pickReading(answer))),
    );
  });
});

/** What a reading must contain: for a non-resource request the oracle's other fields are empty. */
function pickReading(answer: OracleAnswer): Partial<OracleAnswer> {
  return answer.isResource ? answer : { isResource: false, verb: answer.verb, path: answer.path };
}
