/**
 * A dataplane of sockets: for nodes where the agent has no privileges, and for node ports on localhost beside any other dataplane. It listens
 * at every address of the table that this machine lets it have, and joins each client with an endpoint. What must stay true: nothing is
 * dialled that is not in the table; one frontend that fails takes no other with it, and says why; a table that changes nothing closes
 * nothing; every number that a client can drive up has a bound in limits.ts.
 *
 * It differs from rules in the kernel: pods see the node's address as their client's (the PROXY protocol tells them the real one); there is
 * no SCTP; addresses must be the machine's own, which cluster IPs become by one route; a connection whose endpoint does not answer goes
 * to another; where the policy drops TCP the client is refused rather than left to wait; and connections end with this process.
 */
import type {
  ApplyOutcome,
  Dataplane,
  FailedFrontend,
  FrontendGroup,
  IpFamily,
  ServiceTable,
  SocketsView,
} from "#agent/dataplane/dataplane.ts";
import { FamilyDataplane, type FrontendReport } from "./family-dataplane.ts";
import type { UserspaceOptions } from "./options.ts";

export class UserspaceDataplane implements Dataplane, SocketsView {
  readonly name = "userspace";
  readonly #families: Readonly<Record<IpFamily, FamilyDataplane>>;

  constructor(options: UserspaceOptions) {
    this.#families = { IPv4: new FamilyDataplane(options), IPv6: new FamilyDataplane(options) };
  }

  /** Applies a table. Frontends that cannot be opened do not make it fail: `frontends` tells them, and they are tried again by themselves. */
  async apply(table: ServiceTable): Promise<ApplyOutcome> {
    return this.#families[table.family].apply(table, "later");
  }

  /** Sockets cannot be changed from outside; what failed is tried again at once, and addresses that the machine got or lost are found. */
  async verify(table: ServiceTable): Promise<ApplyOutcome> {
    return this.#families[table.family].apply(table, "now");
  }

  /** Ends everything: connections that go through this process cannot outlive it. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.#families).map((family) => family.close()));
  }

  /** Sockets leave nothing behind. */
  async cleanup(): Promise<void> {
    await this.close();
  }

  /** Every frontend of the tables that were applied last. */
  frontends(): readonly FrontendReport[] {
    return Object.values(this.#families).flatMap((family) => family.frontends());
  }

  /** What they do and did, by kind. */
  groups(): readonly FrontendGroup[] {
    return [...this.#families.IPv4.groups("IPv4"), ...this.#families.IPv6.groups("IPv6")];
  }

  /** Those that should be served and are not. */
  failed(): readonly FailedFrontend[] {
    return Object.values(this.#families).flatMap((family) => family.failed());
  }
}
