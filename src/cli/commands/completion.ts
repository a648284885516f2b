/** `sallyport completion SHELL`: a script that asks this program for the words that fit; cluster names come from the last listing. */
import { buildCommand } from "@stricli/core";
import { proposeWords } from "#cli/application.ts";
import { commandTable } from "#cli/command-table.ts";
import { print } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { usageError } from "#cli/output/failure.ts";

const shells = ["bash", "zsh", "fish"] as const;

/** The command has no flags. */
type NoFlags = Readonly<Record<string, never>>;

type Shell = (typeof shells)[number];

/** What the scripts call: `sallyport completion words -- WORD…`, the last word being the one to complete. */
const wordsCommand = "words";

export const command = buildCommand<NoFlags, string[], CliContext>({
  func: complete,
  parameters: {
    flags: {},
    positional: {
      kind: "array",
      parameter: { brief: "bash, zsh or fish", placeholder: "shell", parse: (input: string) => input, proposeCompletions: () => shells },
      minimum: 1,
    },
  },
  docs: {
    brief: "Print a completion script for bash, zsh or fish",
    fullDescription:
      "Load it with:  source <(sallyport completion bash)\n               source <(sallyport completion zsh)\n               sallyport completion fish | source",
  },
});

async function complete(this: CliContext, _: NoFlags, ...words: string[]): Promise<void> {
  const [shell, ...line] = words;
  if (shell === wordsCommand) {
    const proposals = await proposeWords(line.map(fromShell), this, commandTable);
    print(this, proposals.map((proposal) => `${proposal}\n`).join(""));
    return;
  }
  if (!isShell(shell) || line.length > 0)
    throw usageError(`There is no completion for "${words.join(" ")}"`, `Give one of ${shells.join(", ")}.`);
  print(this, scripts[shell]);
}

function isShell(word: string | undefined): word is Shell {
  return shells.some((shell) => shell === word);
}

/** The scripts put `=` before each word, since an argument that starts with `-` would be read as a flag, and an empty one be lost. */
function fromShell(word: string): string {
  return word.replace(/^=/, "");
}

const scripts: Readonly<Record<Shell, string>> = {
  bash: `_sallyport() {
  local IFS=$'\\n' words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  local lines=($(sallyport completion ${wordsCommand} "\${words[@]/#/=}" 2>/dev/null))
  COMPREPLY=("\${lines[@]%%$'\\t'*}")
}
complete -o default -F _sallyport sallyport
`,
  zsh: `#compdef sallyport
_sallyport() {
  local -a lines
  lines=("\${(@f)$(sallyport completion ${wordsCommand} "\${(@)words[2,CURRENT]/#/=}" 2>/dev/null)}")
  lines=("\${(@)lines/$'\\t'/:}")
  _describe sallyport lines
}
compdef _sallyport sallyport
`,
  fish: `function __sallyport_words
  set -l words (commandline -opc)[2..]
  set -l current (commandline -ct)
  sallyport completion ${wordsCommand} "="$words "=$current" 2>/dev/null
end
complete -c sallyport -f -a '(__sallyport_words)'
`,
};
