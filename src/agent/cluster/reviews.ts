/** What users may do, asked of the cluster: SubjectAccessReviews (authorization.k8s.io/v1) with the agent's own identity. */
import { GatewayError } from "#core/errors.ts";
import type { Clock } from "#agent/clock.ts";
import { objectField } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";
import { allowedReviewMs, deniedReviewMs, maxReviews } from "./limits.ts";

/** The reviewed user, as the apiserver would see them. */
export interface ReviewedUser {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** ResourceAttributes of a review; empty text is left out. */
export interface AccessQuestion {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

interface Remembered {
  readonly allowed: boolean;
  readonly untilMs: number;
}

const target = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/** Asks the cluster and remembers answers for moments; the same question at the same time is asked once. */
export class AccessReviews {
  readonly #api: ClusterApi;
  readonly #clock: Clock;
  readonly #remembered = new Map<string, Remembered>();
  readonly #asking = new Map<string, Promise<boolean>>();

  constructor(api: ClusterApi, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
  }

  /** Whether the cluster allows it; rejects with a GatewayError when the cluster cannot be asked, which must deny. */
  async isAllowed(user: ReviewedUser, question: AccessQuestion): Promise<boolean> {
    const key = JSON.stringify([user.username, user.uid, user.groups, Object.entries(user.extra), Object.entries(question)]);
    const known = this.#remembered.get(key);
    if (known !== undefined && this.#clock.now() < known.untilMs) return known.allowed;
    const asking = this.#asking.get(key) ?? this.#ask(key, user, question);
    this.#asking.set(key, asking);
    return asking;
  }

  async #ask(key: string, user: ReviewedUser, question: AccessQuestion): Promise<boolean> {
    try {
      const allowed = await this.#review(user, question);
      this.#remember(key, allowed);
      return allowed;
    } finally {
      this.#asking.delete(key);
    }
  }

  async #review(user: ReviewedUser, question: AccessQuestion): Promise<boolean> {
    const resourceAttributes = Object.fromEntries(Object.entries(question).filter(([, value]) => value !== ""));
    const spec = { user: user.username, uid: user.uid, groups: user.groups, extra: user.extra, resourceAttributes };
    const answer = await this.#api.create(target, { apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview", spec });
    if (answer.type === "refused") {
      throw new GatewayError(
        "AGENT_CREDENTIAL",
        `the apiserver refused the agent's SubjectAccessReview with ${answer.status} ${answer.reason}`,
      );
    }
    const status = objectField(answer.object, "status");
    return status["allowed"] === true && status["denied"] !== true;
  }

  #remember(key: string, allowed: boolean): void {
    this.#remembered.delete(key);
    this.#remembered.set(key, { allowed, untilMs: this.#clock.now() + (allowed ? allowedReviewMs : deniedReviewMs) });
    const oldest = this.#remembered.keys().next();
    if (this.#remembered.size > maxReviews && oldest.done !== true) this.#remembered.delete(oldest.value);
  }
}
