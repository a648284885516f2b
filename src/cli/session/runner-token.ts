/** Tokens of continuous integration runners: nothing is stored, the runner is asked at every start. */
import { readFile } from "node:fs/promises";
import { requestJson } from "./bounded-fetch.ts";
import type { Fetch } from "./bounded-fetch.ts";
import { isSafeForSecrets } from "./gateway-url.ts";
import type { Environment } from "./paths.ts";
import type { CredentialFailure } from "./remembered-failure.ts";
import { isSystemError } from "./private-file.ts";
import { isBearerToken } from "./token-claims.ts";

/** What the environment offers; `none` when it names no token. */
export type RunnerToken =
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "failed"; readonly failure: CredentialFailure }
  | { readonly type: "none" };

export interface RunnerRequest {
  readonly env: Environment;
  /** The audience to ask GitHub for; undefined when the caller named none. */
  readonly audience: string | undefined;
  readonly fetch: Fetch;
}

/**
 * Finds a token in the environment: `SALLYPORT_TOKEN` (GitLab's `id_tokens` fills it), `SALLYPORT_ID_TOKEN_FILE` (read at each start,
 * so that a rotated file is picked up), or GitHub Actions' token service when an audience is known.
 */
export async function findRunnerToken(request: RunnerRequest): Promise<RunnerToken> {
  const { env } = request;
  const given = env["SALLYPORT_TOKEN"];
  if (given !== undefined && given !== "") return checkToken(given.trim(), "SALLYPORT_TOKEN");
  const file = env["SALLYPORT_ID_TOKEN_FILE"];
  if (file !== undefined && file !== "") return readTokenFile(file);
  const url = env["ACTIONS_ID_TOKEN_REQUEST_URL"];
  const bearer = env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
  if (url === undefined || bearer === undefined || request.audience === undefined) return { type: "none" };
  return requestGitHubToken({ url, bearer, audience: request.audience }, request.fetch);
}

async function readTokenFile(path: string): Promise<RunnerToken> {
  try {
    return checkToken((await readFile(path, "utf8")).trim(), "the file that SALLYPORT_ID_TOKEN_FILE names");
  } catch (thrown) {
    const detail = isSystemError(thrown, "ENOENT") ? "does not exist" : "cannot be read";
    return failed(`the file that SALLYPORT_ID_TOKEN_FILE names ${detail}`, `ls -l '${path}'`);
  }
}

interface GitHubRequest {
  readonly url: string;
  readonly bearer: string;
  readonly audience: string;
}

/** GitHub documents the service under "OpenID Connect reference": GET with the audience in the query, answer `{ value }`. */
async function requestGitHubToken(request: GitHubRequest, fetch: Fetch): Promise<RunnerToken> {
  if (!isSafeForSecrets(request.url)) return failed("ACTIONS_ID_TOKEN_REQUEST_URL is not an https URL", "sallyport doctor");
  const url = new URL(request.url);
  url.searchParams.set("audience", request.audience);
  const answer = await requestJson(fetch, url.href, { headers: { authorization: `Bearer ${request.bearer}`, accept: "application/json" } });
  if (answer.type === "unreachable")
    return {
      type: "failed",
      failure: {
        code: "ISSUER_UNREACHABLE",
        message: `GitHub's token service gave no answer (${answer.detail})`,
        next: "Run the job again.",
      },
    };
  const value = answer.body?.["value"];
  if (answer.status === 200 && typeof value === "string") return checkToken(value, "the answer of GitHub's token service");
  return failed(`GitHub's token service answered with status ${answer.status}`, "Give the job `permissions: id-token: write`.");
}

function checkToken(token: string, source: string): RunnerToken {
  return isBearerToken(token) ? { type: "token", token } : failed(`${source} holds no bearer token`, "Check the job's token settings.");
}

function failed(message: string, next: string): RunnerToken {
  return { type: "failed", failure: { code: "TOKEN_INVALID", message, next } };
}
