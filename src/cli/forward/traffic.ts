/** What goes through one forwarded port: counted for the status lines, and told when something changes. */
import type { ForwardConnection } from "./connection.ts";

/** What people are told of a port. */
export interface Narrator {
  /** A line worth keeping: a failure, or that the target has changed. */
  readonly tell: (line: string) => void;
}

export class Traffic {
  /** Such as `127.0.0.1:8080 -> svc/web:http`. */
  readonly title: string;
  readonly #narrator: Narrator;
  readonly #open = new Set<ForwardConnection>();
  #opened = 0;
  #sent = 0;
  #received = 0;
  #dropped = 0;
  #chosen: string;
  #failure = "";

  constructor(title: string, chosen: string, narrator: Narrator) {
    this.title = title;
    this.#chosen = chosen;
    this.#narrator = narrator;
  }

  opened(connection: ForwardConnection): void {
    this.#opened += 1;
    this.#open.add(connection);
    if (this.#failure !== "") this.#narrator.tell(`${this.title}: works again`);
    this.#failure = "";
    if (connection.chosen === this.#chosen) return;
    this.#chosen = connection.chosen;
    this.#narrator.tell(`${this.title}: now reaches ${connection.chosen}`);
  }

  closed(connection: ForwardConnection, failure: string): void {
    if (!this.#open.delete(connection)) return;
    this.#sent += connection.sentBytes;
    this.#received += connection.receivedBytes;
    this.#dropped += connection.droppedDatagrams;
    if (failure !== "") this.failed(failure);
  }

  /** The same failure again is not told again. */
  failed(failure: string): void {
    if (failure !== this.#failure) this.#narrator.tell(`${this.title}: ${failure}`);
    this.#failure = failure;
  }

  /** Datagrams that never had a connection. */
  dropped(count: number): void {
    this.#dropped += count;
  }

  /** The status line. */
  describe(): string {
    const open = [...this.#open];
    const sent = open.reduce((sum, each) => sum + each.sentBytes, this.#sent);
    const received = open.reduce((sum, each) => sum + each.receivedBytes, this.#received);
    const dropped = open.reduce((sum, each) => sum + each.droppedDatagrams, this.#dropped);
    const counts = `${open.length} open, ${this.#opened} in all, ${bytesText(sent)} up, ${bytesText(received)} down`;
    const drops = dropped === 0 ? "" : `, ${dropped} datagrams dropped`;
    return `${this.title}  ${this.#chosen}  ${counts}${drops}  ${this.#failure === "" ? "ok" : this.#failure}`;
  }
}

function bytesText(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}
