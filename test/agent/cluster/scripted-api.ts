/** A cluster API that answers as a test says. */
import { Readable } from "node:stream";
import { ClusterApi } from "#agent/cluster/api.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { Requester } from "#agent/cluster/api.ts";
import { ManualClock } from "../manual-clock.ts";

export interface ApiCall {
  readonly method: string;
  readonly target: string;
  readonly authorization: string | undefined;
  readonly object: JsonObject | undefined;
}

/** An answer: a status with an object or a text, an error to reject with, or undefined for none at all. */
export type ScriptedAnswer =
  | {
      readonly status: number;
      readonly object?: unknown;
      readonly text?: string;
      readonly headers?: readonly (readonly [string, string])[];
    }
  | Error
  | undefined;

export interface ScriptedApi {
  readonly api: ClusterApi;
  readonly calls: ApiCall[];
  readonly clock: ManualClock;
  /** How often the credential was declared refused. */
  readonly invalidated: () => number;
}

export function makeApi(answer: (call: ApiCall, index: number) => ScriptedAnswer | Promise<ScriptedAnswer>): ScriptedApi {
  const calls: ApiCall[] = [];
  const clock = new ManualClock();
  let invalidated = 0;
  const requester: Requester = {
    request: async ({ method, target, headers, body, signal }) => {
      const object = body === undefined ? undefined : (JSON.parse(Buffer.from(body).toString()) as JsonObject); // the code under test wrote it
      const call = { method, target, authorization: headers.find(([name]) => name === "authorization")?.[1], object };
      calls.push(call);
      const answered = await answer(call, calls.length - 1);
      if (answered instanceof Error) throw answered;
      if (answered === undefined) {
        return new Promise((_resolve, reject) => {
          const stop = (): void => reject(signal.reason as Error); // the API's own reason
          if (signal.aborted) stop();
          else signal.addEventListener("abort", stop);
        });
      }
      const text = answered.text ?? JSON.stringify(answered.object ?? {});
      return { status: answered.status, headers: answered.headers ?? [], body: Readable.from([Buffer.from(text)], { objectMode: false }) };
    },
  };
  const credential = {
    authorization: async () => `Bearer own-${invalidated}`,
    invalidate: () => {
      invalidated += 1;
    },
  };
  return { api: new ClusterApi({ requester, credential, clock }), calls, clock, invalidated: () => invalidated };
}
