/**
 * Branded identifiers: a `ClusterName` is a string that its parser has accepted, and nothing else can make one.
 * Only parsers may cast; everywhere else the compiler keeps raw text and parsed identifiers apart.
 */
declare const brand: unique symbol;

/** `Text` that a parser of kind `Name` has accepted. */
export type Brand<Text, Name extends string> = Text & { readonly [brand]: Name };

/** The name of a cluster at a gateway: a DNS label (RFC 1123), so that it can be a host name's first label. */
export type ClusterName = Brand<string, "ClusterName">;

const clusterNamePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Parses a cluster's name; undefined when the text is not a DNS label of at most 63 lower-case characters. */
export function parseClusterName(text: string): ClusterName | undefined {
  return clusterNamePattern.test(text) ? (text as ClusterName) : undefined; // the brand's parser
}
