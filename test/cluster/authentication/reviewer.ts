import { Agent, request } from "node:https";
import type { Identity } from "#core/access/identity.ts";

/** What an apiserver says about a token: who it is, or nothing. */
export type Review = { readonly type: "accepted"; readonly identity: Identity } | { readonly type: "refused" };

/** The part of a SelfSubjectReview (authentication.k8s.io/v1) that is compared. */
interface SelfSubjectReview {
  readonly status: {
    readonly userInfo: {
      readonly username?: string;
      readonly uid?: string;
      readonly groups?: string[];
      readonly extra?: Record<string, string[]>;
    };
  };
}

/** Asks an apiserver who the bearer of a token is; throws when the answer is neither a review nor 401. */
export class Reviewer {
  readonly #url: string;
  readonly #agent: Agent;

  constructor(url: string, authorityPem: string) {
    this.#url = url;
    this.#agent = new Agent({ ca: authorityPem, keepAlive: true, maxSockets: 4 });
  }

  async review(token: string): Promise<Review> {
    const { status, text } = await this.#post(token);
    if (status === 401) return { type: "refused" };
    if (status !== 201) throw new Error(`the apiserver answered ${status}: ${text}`);
    // The apiserver's answer to a SelfSubjectReview.
    const user = (JSON.parse(text) as SelfSubjectReview).status.userInfo;
    const groups = (user.groups ?? []).filter((group) => group !== "system:authenticated");
    return { type: "accepted", identity: { username: user.username ?? "", uid: user.uid ?? "", groups, extra: user.extra ?? {} } };
  }

  close(): void {
    this.#agent.destroy();
  }

  #post(token: string): Promise<{ readonly status: number; readonly text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
    const outgoing = request(new URL("/apis/authentication.k8s.io/v1/selfsubjectreviews", this.#url), {
      method: "POST",
      agent: this.#agent,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    });
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
    });
    outgoing.end('{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}');
    return promise;
  }
}
