/**
 * What a browser's request must show. The pages are for one host only. A form counts when it comes from a page of this very origin, by the
 * browser's own word (Sec-Fetch-Site, Origin), and carries the token that only who holds the cookie's secret can make.
 */
import { GatewayError } from "#core/errors.ts";
import { sessionLimits } from "#workers/session/limits.ts";
import { formToken, isSameSecret } from "#workers/session/secret.ts";

/** Refuses a request for another host than the gateway's own. @throws GatewayError NOT_FOUND */
export function assertOwnHost(request: Request, gatewayUrl: string): void {
  if (new URL(request.url).host !== new URL(gatewayUrl).host)
    throw new GatewayError("NOT_FOUND", `the pages of this gateway are at ${new URL(gatewayUrl).origin}`);
}

/** The fields of a form that one of our own pages sent. @throws GatewayError FORM_REFUSED, TOO_LARGE */
export async function readForm(request: Request, gatewayUrl: string, secret: string | undefined): Promise<URLSearchParams> {
  assertSameOrigin(request.headers, new URL(gatewayUrl).origin);
  if (secret === undefined) throw new GatewayError("FORM_REFUSED", "the browser sent no cookie of this gateway with the form");
  if (request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() !== "application/x-www-form-urlencoded")
    throw new GatewayError("FORM_REFUSED", "the request is no form");
  const fields = new URLSearchParams(await readBody(request));
  const [token = "", ...others] = fields.getAll("token");
  if (others.length > 0 || !isSameSecret(token, await formToken(secret)))
    throw new GatewayError("FORM_REFUSED", "the form was made for another session, or is too old");
  return fields;
}

function assertSameOrigin(headers: Headers, origin: string): void {
  const site = headers.get("sec-fetch-site");
  const claimed = headers.get("origin");
  if ((site !== null && site !== "same-origin") || (claimed !== null && claimed !== origin) || (site === null && claimed === null))
    throw new GatewayError("FORM_REFUSED", "the form was not sent by a page of this gateway");
}

async function readBody(request: Request): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const part of request.body ?? []) {
    text += decoder.decode(part, { stream: true });
    if (text.length > sessionLimits.maxFormBytes) throw new GatewayError("TOO_LARGE", "the form is larger than any of this gateway's");
  }
  return text + decoder.decode();
}
