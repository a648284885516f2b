/** Runs one command of the table: parses its arguments, runs it, tells its failure, and answers the exit code. */
import {
  ArgumentScannerError,
  buildApplication,
  buildCommand,
  buildRouteMap,
  proposeCompletions,
  run,
  text_en as englishText,
} from "@stricli/core";
import type { Application, ApplicationText } from "@stricli/core";
import type { CommandTable, CommandTarget } from "./command-table.ts";
import type { CliContext } from "./context.ts";
import { exitCodeOf, renderFailure, renderFailureJson, toFailure } from "./output/failure.ts";
import type { Failure } from "./output/failure.ts";
import { wantsColor } from "./output/style.ts";
import { version } from "./version.ts";

/** Runs the arguments after the program's name; answers the exit code (the error table says which). */
export async function runApplication(args: readonly string[], context: CliContext, table: CommandTable): Promise<number> {
  // `help` and `help status` are what many type first.
  const asked = args.length === 0 || args[0] === "help" ? [...args.slice(1), "--help"] : args;
  const application = await buildFor(asked[0], table, failureText(context, wantsJson(args)));
  await run(application, asked.flatMap(toFrameworkWords), context);
  const code = Number(context.process.exitCode ?? 0);
  // The framework's own codes are negative: arguments and commands it cannot read are a wrong usage, the rest are faults of ours.
  if (code === frameworkUnknownCommand || code === frameworkInvalidArgument) return exitCodeOf({ code: "USAGE", title: "" });
  return code < 0 ? exitCodeOf({ code: "INTERNAL", title: "" }) : code;
}

/** What could stand at the last place of the line, for the completion scripts. */
export async function proposeWords(words: readonly string[], context: CliContext, table: CommandTable): Promise<readonly string[]> {
  const application = await buildFor(words[0], table, englishText);
  const proposals = await proposeCompletions(application, words, context);
  return proposals.map((proposal) => (proposal.brief === "" ? proposal.completion : `${proposal.completion}\t${proposal.brief}`));
}

/** As in Go's programs: `--flag=` is a flag with an empty value, which the framework knows as two words only, and `--v=3` is `-v=3`. */
function toFrameworkWords(arg: string): readonly string[] {
  if (/^--[a-z](?:=|$)/i.test(arg)) return [arg.slice(1)];
  return /^--[a-z][a-z-]*=$/.test(arg) ? [arg.slice(0, -1), ""] : [arg];
}

/** Exit codes of @stricli/core 1.3 (its `ExitCode`). */
const frameworkUnknownCommand = -5;
const frameworkInvalidArgument = -4;

/** How far a word may be from a command to be taken for a slip: some letters left out or two changed places, one wrong or too many. */
const suggestionDistance = { threshold: 3, weights: { insertion: 1, deletion: 3, substitution: 2, transposition: 0 } };

/** The application with the one command loaded that was called; the others stand there by name, for help and for "did you mean". */
async function buildFor(called: string | undefined, table: CommandTable, text: ApplicationText): Promise<Application<CliContext>> {
  const routes: Record<string, CommandTarget> = {};
  for (const [name, row] of Object.entries(table)) {
    routes[name] = row.type === "command" && name === called ? (await row.load()).command : nameOnly(row.brief);
  }
  const root = buildRouteMap<string, CliContext>({
    routes,
    docs: { brief: "One HTTPS URL for every Kubernetes cluster, behind your company's login" },
  });
  return buildApplication(root, {
    name: "sallyport",
    versionInfo: { currentVersion: version },
    scanner: { caseStyle: "allow-kebab-for-camel", distanceOptions: suggestionDistance },
    documentation: { caseStyle: "convert-camel-to-kebab", disableAnsiColor: true },
    completion: { includeAliases: false },
    localization: { text },
    determineExitCode: (thrown) => exitCodeOf(toFailure(thrown)),
  });
}

function nameOnly(brief: string): CommandTarget {
  return buildCommand<Readonly<Record<string, never>>, [], CliContext>({
    func: () => undefined,
    parameters: { flags: {} },
    docs: { brief },
  });
}

/** The framework's texts, with every failure in our shape. */
function failureText(context: CliContext, isJson: boolean): ApplicationText {
  const tell = (failure: Failure): string =>
    (isJson ? renderFailureJson(failure) : renderFailure(failure, wantsColor(context.env, context.terminal.error))).trimEnd();
  const tellThrown = (thrown: unknown): string => tell(toFailure(thrown)) + debugTrail(context, thrown);
  return {
    ...englishText,
    exceptionWhileParsingArguments: (thrown) =>
      thrown instanceof ArgumentScannerError
        ? tell({ code: "USAGE", title: englishText.exceptionWhileParsingArguments.call({}, thrown, false) })
        : tellThrown(thrown),
    exceptionWhileLoadingCommandFunction: tellThrown,
    exceptionWhileLoadingCommandContext: tellThrown,
    exceptionWhileRunningCommand: tellThrown,
    commandErrorResult: tellThrown,
    noCommandRegisteredForInput: ({ input, corrections }) =>
      tell({
        code: "USAGE",
        title: `There is no command "${input}"`,
        ...(corrections.length === 0 ? {} : { cause: `Did you mean ${corrections.join(" or ")}?` }),
        next: ["sallyport --help"],
      }),
  };
}

function debugTrail(context: CliContext, thrown: unknown): string {
  if ((context.env["SALLYPORT_DEBUG"] ?? "") === "" || !(thrown instanceof Error)) return "";
  const causes: string[] = [];
  for (let error: unknown = thrown; error instanceof Error && causes.length < maxCauses; error = error.cause)
    causes.push(error.stack ?? error.message);
  return `\n${causes.join("\ncaused by ")}`;
}

/** Causes told when debugging; longer chains repeat themselves. */
const maxCauses = 5;

/** Whether failures go out as JSON too: read from the raw arguments, since a failure may be about the arguments. */
function wantsJson(args: readonly string[]): boolean {
  return args.some((arg, index) => /^(-o|--output)=?json$/.test(arg) || (/^(-o|--output)$/.test(arg) && args[index + 1] === "json"));
}
