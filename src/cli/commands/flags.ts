/** Flags that several commands share, so that they mean the same everywhere. */
import { outputFormats } from "#cli/output/format.ts";

/** Takes the text as it is; flags with a grammar are parsed by their command, whose failures have our shape. */
export function toText(input: string): string {
  return input;
}

export const gatewayFlagParameters = {
  gateway: {
    kind: "parsed",
    parse: toText,
    brief: "URL of the gateway (or SALLYPORT_GATEWAY, or the last login's)",
    placeholder: "URL",
    optional: true,
  },
  gatewayCa: {
    kind: "parsed",
    parse: toText,
    brief: "PEM file with the gateway's own certificate authority",
    placeholder: "FILE",
    optional: true,
  },
} as const;

export const outputFlagParameter = { kind: "enum", values: outputFormats, brief: "Output format", default: "table" } as const;

export const outputAliases = { o: "output" } as const;

export const yesFlagParameter = { kind: "boolean", brief: "Do not ask", default: false } as const;
