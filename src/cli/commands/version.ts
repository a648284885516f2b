/** `sallyport version`. */
import { buildCommand } from "@stricli/core";
import { print } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { renderJson } from "#cli/output/format.ts";
import { version } from "#cli/version.ts";
import { outputAliases } from "./flags.ts";

interface VersionFlags {
  readonly output: "text" | "json";
}

export const command = buildCommand<VersionFlags, [], CliContext>({
  func: printVersion,
  parameters: {
    flags: { output: { kind: "enum", values: ["text", "json"], brief: "Output format", default: "text" } },
    aliases: outputAliases,
  },
  docs: { brief: "Print the version" },
});

async function printVersion(this: CliContext, flags: VersionFlags): Promise<void> {
  const { platform } = this;
  print(this, flags.output === "json" ? renderJson({ version, node: process.versions.node, platform }) : `${version}\n`);
}
