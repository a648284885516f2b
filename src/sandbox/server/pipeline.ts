/** What every request goes through before it is answered: who asks (authentication, impersonation), what for, and may they. */
import { maxBodyBytes } from "#sandbox/limits.ts";
import type { IncomingMessage } from "node:http";
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import { forbiddenStatus } from "#sandbox/identity/forbidden.ts";
import { impersonate } from "#sandbox/identity/impersonation.ts";
import type { HeaderLines } from "#sandbox/identity/impersonation.ts";
import { anonymous } from "#sandbox/identity/user.ts";
import type { User } from "#sandbox/identity/user.ts";
import { parseJson } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import { decodeProtobuf, protobufType } from "./protobuf.ts";
import { attributesOf, parseRequest } from "./request.ts";
import type { RequestInfo } from "./request.ts";
import { badRequest, failed, failure, ok } from "./status.ts";
import type { Outcome } from "./status.ts";

/** Who asked, told to the log whatever the outcome. */
export interface Admission {
  /** The authenticated caller; anonymous without or with a wrong credential. */
  readonly caller: User;
  readonly request: Outcome<ApiRequest>;
}

/** Admits a request, or says why not: 400, 401 or 403. */
export function admit(cluster: Cluster, message: IncomingMessage): Admission {
  const authenticated = cluster.authenticator.authenticate(message.headers.authorization);
  if (authenticated.type === "failure") return { caller: anonymous, request: authenticated };
  const caller = authenticated.value;
  const info = parseRequest(message.method ?? "GET", message.url ?? "/");
  if (info === undefined) return { caller, request: failed(badRequest("the request's URL is not well formed")) };
  const lines = headerLines(message);
  const acting = impersonate(caller, lines, cluster.authorizer);
  if (acting.type === "failure") return { caller, request: acting };
  const user = acting.value;
  const attributes = attributesOf(info);
  if (!cluster.authorizer.authorize(user, attributes).allowed) return { caller, request: failed(forbiddenStatus(user, attributes)) };
  return { caller, request: ok(toApiRequest(message, { info, user, lines })) };
}

/** Header lines as they came, repeated names and all. */
function headerLines(message: IncomingMessage): HeaderLines {
  const lines: (readonly [string, string])[] = [];
  for (let index = 0; index + 1 < message.rawHeaders.length; index += 2)
    lines.push([message.rawHeaders[index] ?? "", message.rawHeaders[index + 1] ?? ""]);
  return lines;
}

function toApiRequest(
  message: IncomingMessage,
  parts: { readonly info: RequestInfo; readonly user: User; readonly lines: HeaderLines },
): ApiRequest {
  return {
    ...parts,
    method: message.method ?? "GET",
    header: (name) => {
      const value = message.headers[name];
      return (Array.isArray(value) ? value[0] : value) ?? "";
    },
    body: () => readBody(message),
  };
}

const bodyTypes = /^(application\/json|application\/[a-z-]+\+json|)$/;

/** The body as JSON; an empty one is an empty object, as for a DELETE without options. */
async function readBody(message: IncomingMessage): Promise<Outcome<Json>> {
  const mediaType = (message.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message) {
    const piece = chunk as Buffer; // no encoding is set
    size += piece.length;
    if (size > maxBodyBytes) return failed(failure(413, "RequestEntityTooLarge", `Request entity too large: limit is ${maxBodyBytes}`));
    chunks.push(piece);
  }
  if (size === 0) return ok({});
  const bytes = Buffer.concat(chunks);
  if (mediaType === protobufType) {
    const object = decodeProtobuf(bytes);
    return object === undefined
      ? failed(badRequest("the body of the request is no protobuf of a kind that the sandbox knows"))
      : ok(object);
  }
  if (!bodyTypes.test(mediaType)) {
    return failed(
      failure(
        415,
        "UnsupportedMediaType",
        `the body of the request was in an unknown format - accepted media types include: application/json (it was ${mediaType})`,
      ),
    );
  }
  const value = parseJson(bytes.toString("utf8"));
  return value === undefined ? failed(badRequest("the body of the request is no JSON")) : ok(value);
}
