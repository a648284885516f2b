/** The formats of `-o`: what goes to standard output, for people or for programs. */
import { toPlainLine, toPlainValue } from "./plain-text.ts";

export const outputFormats = ["table", "json", "yaml", "name"] as const;

export type OutputFormat = (typeof outputFormats)[number];

/** A list for output: `items` is what programs get, `rows` what people read. */
export interface Listing {
  /** The JSON document. */
  readonly document: unknown;
  /** One name for each line of `-o name`. */
  readonly names: readonly string[];
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What follows the rows for people, after an empty line: tables of their own, and lines of text. */
  readonly details?: readonly ListingDetail[];
}

/** A table below a listing, and what is to be said of it. */
export interface ListingDetail {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

/** Renders the listing, with a line feed at the end; nothing to list renders as nothing but the JSON or YAML document. */
export async function renderListing(listing: Listing, format: OutputFormat): Promise<string> {
  switch (format) {
    case "json":
      return renderJson(listing.document);
    case "yaml":
      return (await import("yaml")).stringify(toPlainValue(listing.document));
    case "name":
      return listing.names.map((name) => `${toPlainLine(name)}\n`).join("");
    case "table":
      return [renderTable(listing.columns, listing.rows), ...(listing.details ?? []).map(renderDetail)].join("\n");
  }
}

/** Indented JSON in which a terminal finds no control character: what JSON leaves raw above ASCII is escaped. */
export function renderJson(document: unknown): string {
  const text = JSON.stringify(document, undefined, 2);
  const escaped = text.replaceAll(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${escaped}\n`;
}

/** Columns of text, two spaces apart, as kubectl prints them; empty without rows. */
export function renderTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const lines = [columns, ...rows].map((row) => row.map((cell) => (cell === "" ? "-" : toPlainLine(cell))));
  const widths = columns.map((_, index) => Math.max(...lines.map((row) => row[index]?.length ?? 0)));
  return lines
    .map(
      (row) =>
        `${row
          .map((cell, index) => cell.padEnd(widths[index] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

function renderDetail({ columns, rows, notes }: ListingDetail): string {
  return renderTable(columns, rows) + notes.map((note) => `${toPlainLine(note)}\n`).join("");
}
