/** What a reader of a resource does next, from how the last thing ended: a pure machine. */
import { absentResourceMs, firstRetryMs, longestRetryAfterMs, longestRetryMs, refusalsToReadAnew } from "./limits.ts";

/**
 * A way to read. `watchList`: everything, then its changes, in one request. `pages`: a list in pages. `whole`: a list at once, where a
 * continue token expired. `follow`: changes from a version on.
 */
export type Way = "watchList" | "pages" | "whole" | "follow";

export interface Course {
  readonly way: Way;
  /** Failures in a row, without an event of a watch between them. */
  readonly failures: number;
  /** Refusals in a row of `follow`. */
  readonly refusals: number;
  /** Whether the apiserver is known not to do watch-lists. */
  readonly lacksWatchList: boolean;
}

/** How one request, or one list, ended. */
export type Ending =
  /** A list is complete. */
  | { readonly type: "complete" }
  /** A watch ended as watches do, complete ones of watch-lists too. */
  | { readonly type: "ended" }
  /** The version or the continue token is too old. */
  | { readonly type: "expired" }
  | { readonly type: "refused"; readonly status: number; readonly retryAfterMs: number | undefined }
  /** The watch began, but did not say within time that its first objects are complete: the apiserver may not know watch-lists. */
  | { readonly type: "neverComplete" }
  /** Unreachable, broken off, silent, or not understood. */
  | { readonly type: "failed" };

export const firstCourse: Course = { way: "watchList", failures: 0, refusals: 0, lacksWatchList: false };

export interface NextCourse {
  readonly course: Course;
  /** Before it begins. */
  readonly waitMs: number;
}

/** The next course. `draw`: 0 to 1, spreads the waits of many nodes. */
export function nextCourse(course: Course, ending: Ending, draw: number): NextCourse {
  switch (ending.type) {
    case "complete":
      // Only a watch that goes on proves that reading works: its version may be too old at once, again and again.
      return { course: { ...course, way: "follow", refusals: 0 }, waitMs: 0 };
    case "ended":
      return { course: { ...course, way: "follow", failures: 0, refusals: 0 }, waitMs: 0 };
    case "expired":
      return afterExpiry(course, draw);
    case "refused":
      return afterRefusal(course, ending, draw);
    case "neverComplete":
      return { course: { ...course, way: "pages", lacksWatchList: true, failures: course.failures + 1 }, waitMs: 0 };
    case "failed":
      return retry(course, draw);
  }
}

function afterExpiry(course: Course, draw: number): NextCourse {
  const way = course.way === "pages" ? "whole" : wayToReadAll(course);
  const next = { ...course, way, failures: course.failures + 1, refusals: 0 };
  return { course: next, waitMs: course.failures === 0 ? 0 : backoffMs(course.failures, draw) };
}

function afterRefusal(course: Course, { status, retryAfterMs }: Extract<Ending, { type: "refused" }>, draw: number): NextCourse {
  // An apiserver that does not know watch-lists refuses their parameters (KEP-3157: sendInitialEvents, resourceVersionMatch).
  if (course.way === "watchList" && (status === 400 || status === 422))
    return { course: { ...course, way: "pages", lacksWatchList: true }, waitMs: 0 };
  const refusals = course.way === "follow" ? course.refusals + 1 : 0;
  const again = retry({ ...course, refusals }, draw);
  const waitMs = Math.max(again.waitMs, Math.min(retryAfterMs ?? 0, longestRetryAfterMs), status === 404 ? absentResourceMs : 0);
  if (refusals < refusalsToReadAnew) return { ...again, waitMs };
  return { course: { ...again.course, way: wayToReadAll(course), refusals: 0 }, waitMs };
}

function retry(course: Course, draw: number): NextCourse {
  // An apiserver of another version may answer next time.
  const way = course.way === "whole" ? "pages" : course.way;
  return { course: { ...course, way, failures: course.failures + 1 }, waitMs: backoffMs(course.failures, draw) };
}

function wayToReadAll({ lacksWatchList }: Course): Way {
  return lacksWatchList ? "pages" : "watchList";
}

/** Doubles from the first wait to the longest, spread from half of it to one and a half. */
function backoffMs(failures: number, draw: number): number {
  return Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 16)) * (0.5 + draw);
}
