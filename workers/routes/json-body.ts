/** A document that a request brings. */
import { GatewayError } from "#core/errors.ts";

/** Of somebody who has been admitted: what is too large is still taken in, and dropped. @throws GatewayError TOO_LARGE, REQUEST_INVALID */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) {
    // A client that is answered while it sends may find its connection broken, and lose the answer.
    await request.body?.pipeTo(new WritableStream());
    throw new GatewayError("TOO_LARGE", "the document is too large");
  }
  const text = await request.text();
  if (text.length > maxBytes) throw new GatewayError("TOO_LARGE", "the document is too large");
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new GatewayError("REQUEST_INVALID", "the document is not JSON", { cause });
  }
}
