import { parseKeySet, type KeySet, type KeySetLookup } from "./key-set.ts";
import type { KeyLookup, KeyQuery, KeySource } from "./key-source.ts";
import { doorLimits, keyLimits } from "./limits.ts";
import { parseStrictJson, toJsonObject } from "./strict-json.ts";

/** What of a fetch's response is read; the runtimes' own `Response` fits. */
export interface KeyResponse {
  readonly status: number;
  readonly body: {
    readonly getReader: () => {
      readonly read: () => Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
      readonly cancel: (reason?: unknown) => Promise<void>;
    };
  } | null;
}

/** A fetch that sends no credentials; the agent passes one that trusts the issuer's certificateAuthority. */
export type FetchKeys = (
  url: string,
  init: { readonly redirect: "manual"; readonly headers: Record<string, string>; readonly signal: AbortSignal },
) => Promise<KeyResponse>;

/** What a remote key source is built from. */
export interface RemoteKeysOptions {
  /** The issuer's URL as configured; its discovery document must name exactly this. */
  readonly issuerUrl: string;
  /** Where the discovery document is, when not below the issuer's URL. */
  readonly discoveryUrl: string | undefined;
  readonly fetch: FetchKeys;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** A signal that aborts after so many milliseconds, such as `AbortSignal.timeout`. */
  readonly createDeadline: (ms: number) => AbortSignal;
  /**
   * Whether one fetch may serve several callers. Workers may not wait for I/O that another request began, so there every
   * caller fetches for itself; a Durable Object and Node share.
   */
  readonly flight: "shared" | "separate";
}

/** Keys that never change: a JWK Set registered beside the configuration, or reported by the cluster's agent. */
export function createStaticKeys(
  keySetText: string,
): { readonly type: "created"; readonly keys: KeySource } | { readonly type: "malformed"; readonly message: string } {
  const result = parseKeySet(new TextEncoder().encode(keySetText));
  if (result.type === "malformed") return result;
  const keySet = result.keySet;
  const keys: KeySource = {
    generation: () => 0,
    isFresh: () => true,
    isUsable: () => true,
    refresh: async () => {},
    find: async (query) => withGeneration(keySet.find(query), 0),
    exportKeys: () => keySet.text,
  };
  return { type: "created", keys };
}

/**
 * Keys found through the issuer's discovery document (OpenID Connect Discovery 1.0 section 4) and kept fresh: fetched again
 * after five minutes, when a key id is unknown (with a cooldown), and used for at most a day while the issuer is unreachable.
 */
export function createRemoteKeys(options: RemoteKeysOptions): KeySource {
  return new RemoteKeys(options);
}

class FetchFault extends Error {}

class RemoteKeys implements KeySource {
  readonly #options: RemoteKeysOptions;
  #keySet: KeySet | undefined;
  #generation = 0;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #attemptedAtMs = Number.NEGATIVE_INFINITY;
  #fault: string | undefined;
  #keySetUrl: string | undefined;
  #discoveredAtMs = Number.NEGATIVE_INFINITY;
  #flight: Promise<void> | undefined;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  readonly generation = (): number => this.#generation;

  readonly isUsable = (): boolean => this.#keySet !== undefined && this.#age() <= keyLimits.maxStaleMs;

  readonly isFresh = (): boolean => {
    if (!this.isUsable()) return false;
    return this.#isYoungerThan(keyLimits.refreshAfterMs) || (this.#fault !== undefined && this.#isCoolingDown());
  };

  readonly refresh = async (): Promise<void> => {
    if (this.isFresh()) return;
    if (this.#fault !== undefined && this.#isCoolingDown()) return;
    const mayWait = !this.#isYoungerThan(keyLimits.refreshBeforeUseAfterMs) && this.#fault === undefined;
    const fetching = this.#fetchOnce();
    // A usable key set is not held up by a refresh in the background, nor by an issuer that failed the last time.
    if (this.isUsable() && !mayWait && this.#options.flight === "shared") return;
    await fetching;
  };

  readonly find = async (query: KeyQuery): Promise<KeyLookup> => {
    await this.refresh();
    const lookup = this.#findCached(query);
    if (lookup.type !== "unknown" || (this.#flight === undefined && this.#isCoolingDown())) return lookup;
    await this.#fetchOnce(); // joins the refresh in the background, if there is one
    return this.#findCached(query);
  };

  readonly exportKeys = (): string | undefined => (this.isUsable() ? this.#keySet?.text : undefined);

  #findCached(query: KeyQuery): KeyLookup {
    if (this.#keySet !== undefined && this.isUsable()) return withGeneration(this.#keySet.find(query), this.#generation);
    return { type: "unavailable", message: this.#fault ?? "the issuer's keys have not been fetched yet" };
  }

  #age(): number {
    return this.#options.clock() - this.#fetchedAtMs;
  }

  /** A clock that was set back makes the age negative: that is not young but unknown. */
  #isYoungerThan(ms: number): boolean {
    const age = this.#age();
    return age >= 0 && age < ms;
  }

  #isCoolingDown(): boolean {
    const sinceAttempt = this.#options.clock() - this.#attemptedAtMs;
    return sinceAttempt >= 0 && sinceAttempt < (this.#keySet === undefined ? keyLimits.firstCooldownMs : keyLimits.cooldownMs);
  }

  /** Fetches, or joins the fetch that is under way where the runtime allows that. Never rejects. */
  #fetchOnce(): Promise<void> {
    if (this.#options.flight === "separate") return this.#fetchAndStore();
    this.#flight ??= this.#fetchAndStore().finally(() => {
      this.#flight = undefined;
    });
    return this.#flight;
  }

  async #fetchAndStore(): Promise<void> {
    this.#attemptedAtMs = this.#options.clock();
    try {
      const signal = this.#options.createDeadline(keyLimits.fetchTimeoutMs);
      const keySet = await this.#fetchKeySet(signal);
      if (keySet.text !== this.#keySet?.text) {
        this.#keySet = keySet;
        this.#generation += 1;
      }
      this.#fetchedAtMs = this.#options.clock();
      this.#fault = undefined;
    } catch (thrown) {
      this.#fault = thrown instanceof FetchFault ? thrown.message : "the issuer cannot be reached";
    }
  }

  async #fetchKeySet(signal: AbortSignal): Promise<KeySet> {
    const url = await this.#discover(signal);
    const result = parseKeySet(await this.#fetchDocument(url, "key set", signal));
    if (result.type === "malformed") throw new FetchFault(result.message);
    return result.keySet;
  }

  async #discover(signal: AbortSignal): Promise<string> {
    const isRecent = this.#options.clock() - this.#discoveredAtMs < keyLimits.discoveryRefreshAfterMs;
    if (this.#keySetUrl !== undefined && isRecent && this.#fault === undefined) return this.#keySetUrl;
    const { issuerUrl, discoveryUrl } = this.#options;
    const url = discoveryUrl ?? `${issuerUrl.replace(/\/$/, "")}/.well-known/openid-configuration`;
    this.#keySetUrl = parseDiscovery(await this.#fetchDocument(url, "discovery document", signal), issuerUrl);
    this.#discoveredAtMs = this.#options.clock();
    return this.#keySetUrl;
  }

  async #fetchDocument(url: string, name: string, signal: AbortSignal): Promise<Uint8Array> {
    const init = { redirect: "manual", headers: { accept: "application/json" }, signal } as const;
    const response = await untilAborted(this.#options.fetch(url, init), signal);
    if (response.status !== 200) {
      await response.body?.getReader().cancel();
      throw new FetchFault(`the issuer answered the request for its ${name} with status ${response.status}`);
    }
    return await readLimited(response, name, signal);
  }
}

function withGeneration(lookup: KeySetLookup, generation: number): KeyLookup {
  return lookup.type === "found" ? { ...lookup, generation } : lookup;
}

function parseDiscovery(bytes: Uint8Array, issuerUrl: string): string {
  const result = parseStrictJson(bytes, { maxDepth: doorLimits.maxJsonDepth, maxElements: doorLimits.maxArrayElements });
  const members = result.type === "parsed" ? toJsonObject(result.value) : undefined;
  if (members === undefined) throw new FetchFault("the issuer's discovery document is not a JSON object");
  if (members.get("issuer") !== issuerUrl) throw new FetchFault("the issuer's discovery document names another issuer");
  const url = members.get("jwks_uri");
  if (typeof url !== "string" || !URL.canParse(url) || new URL(url).protocol !== "https:") {
    throw new FetchFault("the issuer's discovery document has no jwks_uri that is an https URL");
  }
  return url;
}

async function readLimited(response: KeyResponse, name: string, signal: AbortSignal): Promise<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) throw new FetchFault(`the issuer's ${name} is empty`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await untilAborted(reader.read(), signal);
      if (done || value === undefined) break;
      length += value.length;
      if (length > keyLimits.maxDocumentBytes)
        throw new FetchFault(`the issuer's ${name} is larger than ${keyLimits.maxDocumentBytes} bytes`);
      chunks.push(value);
    }
  } catch (thrown) {
    reader.cancel(thrown).catch(() => {}); // the fault is already known; a body that cannot be cancelled changes nothing
    throw thrown;
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** The promise's outcome, or a fault as soon as the signal aborts, whatever the promise does. */
function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new FetchFault(`the issuer did not answer within ${keyLimits.fetchTimeoutMs / 1000} seconds`));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
