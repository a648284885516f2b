/**
 * Sessions: what lets one person's sign-in serve kubectl, k9s, helm and this command line, without a daemon.
 *
 * kubectl starts the credential plugin anew for each of its clients: twice when all is well, a dozen times at once when the
 * answer is 401. So everything here lives in small files that many short processes read and write at the same time, and must stay
 * true: one refresh at a time, because issuers rotate refresh tokens and the second user of one signs the person out; one pending
 * login at a time; a failure is remembered for a while and told once; a token is in no argument, log or message, only in a file
 * of mode 0600. Nothing here but the two login flows may import a package: start-up time is felt at every kubectl command.
 */
import { isAbsolute, join } from "node:path";

/** Environment variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where this program keeps its files (XDG Base Directory Specification 0.8; %LOCALAPPDATA% on Windows). */
export interface Paths {
  /** The chosen gateway. */
  readonly config: string;
  /** Sessions, locks and remembered failures: secret. */
  readonly state: string;
  /** Cluster names for completion: may be deleted at any time. */
  readonly cache: string;
}

export function resolvePaths(env: Environment, homeDirectory: string): Paths {
  const local = env["LOCALAPPDATA"];
  const directory = (variable: string, fallback: string): string => {
    const chosen = env[variable];
    // The specification says that a relative path there is invalid and must be ignored.
    if (chosen !== undefined && isAbsolute(chosen)) return join(chosen, "sallyport");
    return local === undefined ? join(homeDirectory, fallback, "sallyport") : join(local, "sallyport");
  };
  return {
    config: directory("XDG_CONFIG_HOME", ".config"),
    state: directory("XDG_STATE_HOME", ".local/state"),
    cache: directory("XDG_CACHE_HOME", ".cache"),
  };
}
