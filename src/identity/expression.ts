/** A compiled CEL expression of a configuration. */
export interface Expression {
  /** As written in the file. */
  readonly source: string;
}
