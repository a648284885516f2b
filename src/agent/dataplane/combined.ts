/** Two dataplanes as one: rules for packets, and beside them sockets for what no packet rule can serve (node ports on localhost). */
import type { ApplyOutcome, Dataplane, ServiceTable } from "./dataplane.ts";

/** Both do as the table says, `main` first. What fails in one does not keep the other from it. */
export function combineDataplanes(main: Dataplane, beside: Dataplane): Dataplane {
  const both = async (
    act: (dataplane: Dataplane, table: ServiceTable) => Promise<ApplyOutcome>,
    table: ServiceTable,
  ): Promise<ApplyOutcome> => {
    const first = await settle(() => act(main, table));
    return merge(first, await settle(() => act(beside, table)));
  };
  const inTurn = async (act: (dataplane: Dataplane) => Promise<void>): Promise<void> => {
    const results = await Promise.allSettled([act(main), act(beside)]);
    for (const result of results) if (result.status === "rejected") throw result.reason;
  };
  return {
    name: main.name,
    apply: (table) => both((dataplane, wanted) => dataplane.apply(wanted), table),
    verify: (table) => both((dataplane, wanted) => dataplane.verify(wanted), table),
    close: () => inTurn((dataplane) => dataplane.close()),
    cleanup: () => inTurn((dataplane) => dataplane.cleanup()),
  };
}

function merge(one: ApplyOutcome, other: ApplyOutcome): ApplyOutcome {
  if (one.type === "applied" && other.type === "applied") return { type: "applied", changes: one.changes + other.changes };
  const messages = [one, other].flatMap((outcome) => (outcome.type === "failed" ? [outcome.message] : []));
  return { type: "failed", message: messages.join("; ") };
}

async function settle(act: () => Promise<ApplyOutcome>): Promise<ApplyOutcome> {
  try {
    return await act();
  } catch (error) {
    return { type: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}
