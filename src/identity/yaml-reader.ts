import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Node } from "yaml";
import type { ConfigurationProblem } from "./configuration.ts";

/** A place in the file: its node, undefined where a field is missing or null, and the path and offset to name it by. */
export interface Place {
  readonly node: Node | undefined;
  /** As `jwt[0].issuer.url`. */
  readonly path: string;
  readonly offset: number;
}

/** The members of an object that is there, or of one that is missing. */
export type Fields = (name: string) => Place;

/** What a file should hold, for messages. */
export interface ExpectedDocument {
  /** Kind and version. */
  readonly kind: string;
  /** Who reads the file otherwise. */
  readonly program: string;
}

const authenticationConfiguration: ExpectedDocument = {
  kind: "an AuthenticationConfiguration (apiserver.config.k8s.io/v1)",
  program: "kube-apiserver",
};

/**
 * Reads YAML 1.1 as Kubernetes' programs do, strictly: unknown and repeated fields are problems, and so is a scalar of another
 * type. Every problem is kept with its line, so that all are reported at once.
 */
export class YamlReader {
  readonly problems: ConfigurationProblem[] = [];
  readonly #file: string;
  readonly #expected: ExpectedDocument;
  readonly #lines = new LineCounter();

  constructor(file: string, expected: ExpectedDocument = authenticationConfiguration) {
    this.#file = file;
    this.#expected = expected;
  }

  /** The document's root; undefined, with problems, when the text is not one YAML document. */
  parse(text: string): Place | undefined {
    const documents = parseAllDocuments(text, {
      version: "1.1",
      lineCounter: this.#lines,
      uniqueKeys: true,
      merge: false,
      prettyErrors: false,
    });
    const [document, another] = Array.isArray(documents) ? documents : [];
    if (document === undefined) {
      this.addAt(0, `the file is empty; write ${this.#expected.kind}`);
      return undefined;
    }
    if (another !== undefined)
      this.addAt(
        another.range[0],
        `the file holds more than one YAML document; ${this.#expected.program} reads the first only, so keep one`,
      );
    for (const fault of [...document.errors, ...document.warnings]) this.addAt(fault.pos[0], `this is not valid YAML: ${fault.message}`);
    if (this.problems.length > 0) return undefined;
    return { node: document.contents ?? undefined, path: "", offset: 0 };
  }

  add(place: Place, message: string): void {
    this.addAt(place.offset, place.path === "" ? message : `${place.path}: ${message}`);
  }

  addAt(offset: number, message: string): void {
    this.problems.push({ file: this.#file, line: Math.max(1, this.#lines.linePos(offset).line), message });
  }

  /** The members of an object; fields that are not in `known` are problems. */
  fields(place: Place, known: readonly string[]): Fields {
    const found = new Map<string, Place>();
    const prefix = place.path === "" ? "" : `${place.path}.`;
    if (place.node !== undefined && !isMap(place.node)) this.add(place, "this must be an object with fields; see the API reference");
    for (const pair of isMap(place.node) ? place.node.items : []) {
      const name = isScalar(pair.key) ? String(pair.key.value) : "";
      const offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? place.offset) : place.offset;
      if (known.includes(name)) found.set(name, this.#place(pair.value, `${prefix}${name}`, offset));
      else this.addAt(offset, `unknown field ${prefix}${name}; the fields here are ${known.join(", ")}`);
    }
    return (name) => found.get(name) ?? { node: undefined, path: `${prefix}${name}`, offset: place.offset };
  }

  /** The elements of a list; none when the field is missing. */
  elements(place: Place): readonly Place[] {
    if (place.node === undefined) return [];
    if (!isSeq(place.node)) {
      this.add(place, "this must be a list");
      return [];
    }
    return place.node.items.map((item, index) => this.#place(item, `${place.path}[${index}]`, place.offset));
  }

  /** A text; "" when the field is missing or not a text. */
  text(place: Place): string {
    return this.optionalText(place) ?? "";
  }

  /** A text; undefined when the field is missing or not a text. */
  optionalText(place: Place): string | undefined {
    if (place.node === undefined) return undefined;
    if (isScalar(place.node) && typeof place.node.value === "string") return place.node.value;
    this.add(place, "this must be a text; put it in quotes");
    return undefined;
  }

  /** A truth value; false when the field is missing. */
  truth(place: Place): boolean {
    if (place.node === undefined) return false;
    if (isScalar(place.node) && typeof place.node.value === "boolean") return place.node.value;
    this.add(place, "this must be true or false");
    return false;
  }

  /** A whole number; undefined when the field is missing or not one. */
  optionalInteger(place: Place): number | undefined {
    if (place.node === undefined) return undefined;
    if (isScalar(place.node) && typeof place.node.value === "number" && Number.isSafeInteger(place.node.value)) return place.node.value;
    this.add(place, "this must be a whole number");
    return undefined;
  }

  /** Whether something stands there that is not empty: no `""`, `0`, `0s`, `false`, `[]`, nor an object of such. */
  isSet(place: Place): boolean {
    return place.node !== undefined && isFilled(place.node);
  }

  /** The names of an object's members, in file order. */
  names(place: Place): readonly string[] {
    return isMap(place.node) ? place.node.items.map((pair) => (isScalar(pair.key) ? String(pair.key.value) : "")) : [];
  }

  #place(value: unknown, path: string, keyOffset: number): Place {
    if (isAlias(value)) {
      this.addAt(value.range?.[0] ?? keyOffset, `${path}: references to anchors (*name) are not supported; write the value out`);
      return { node: undefined, path, offset: keyOffset };
    }
    if (!isMap(value) && !isSeq(value) && !isScalar(value)) return { node: undefined, path, offset: keyOffset };
    const isNull = isScalar(value) && value.value === null;
    // A block text's own position is its indicator's line, which is the line an editor should show.
    return { node: isNull ? undefined : value, path, offset: value.range?.[0] ?? keyOffset };
  }
}

function isFilled(node: unknown): boolean {
  if (isMap(node)) return node.items.some((pair) => isFilled(pair.value));
  if (isSeq(node)) return node.items.length > 0;
  return isScalar(node) && !["", 0, "0", "0s", false, null].some((empty) => node.value === empty);
}
