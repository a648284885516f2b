/** An agent that changes a node's Services without end, and says after each change that it is done. It is there to be killed. */
import { spawn } from "node:child_process";

import { createNft } from "#agent/dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "#agent/dataplane/nftables/nftables.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { makeEndpoint, makeObjects, makeService, makeSlice, planOptions } from "#test/agent/dataplane/makers.ts";
import { addresses, endpointPort, servicePort } from "#test/cluster/dataplane/world.ts";
import { churnedService } from "#test/cluster/dataplane/churn/service.ts";

/** Other Services, so that a change is more than one element. */
const fillers = 100;
const endpointSets = [[0, 1, 2], [2], [1, 3], [0, 1, 2, 3], [3, 0]] as const;
const endpoints = [...addresses.localEndpoints, ...addresses.remoteEndpoints].map(({ IPv4 }) => IPv4);

const [namespace = ""] = process.argv.slice(2);
const nft = createNft({ command: ["ip", "netns", "exec", namespace, "nft"], spawn, timeoutMs: 60_000 });
const dataplane = createNftablesDataplane({ nft, families: ["IPv4"], masqueradeBit: 14 });
const planner = new Planner(planOptions);

for (let round = 0; ; round++) {
  const plan = planner.plan(objectsOf(round), "all");
  const outcome = await dataplane.apply(plan.IPv4.table);
  process.stdout.write(`${outcome.type === "applied" ? "applied" : outcome.message}\n`);
}

function objectsOf(round: number) {
  const chosen = (endpointSets[round % endpointSets.length] ?? [0]).map((index) => makeEndpoint(endpoints[index] ?? ""));
  const others = Array.from({ length: fillers }, (_, index) => index + (round % 3) * (fillers / 2));
  const ports = [{ name: "http", protocol: "TCP" as const, port: endpointPort }];
  return makeObjects(
    [
      makeService({
        clusterIps: [churnedService.clusterIp],
        type: "LoadBalancer",
        ports: [{ name: "http", protocol: "TCP", port: servicePort, nodePort: churnedService.nodePort }],
        ingress: [{ ip: churnedService.loadBalancerIp, mode: "VIP" }],
      }),
      ...others.map((index) => makeService({ name: `filler${index}`, clusterIps: [`10.96.100.${index}`] })),
    ],
    [
      makeSlice(chosen, { ports }),
      ...others.map((index) => makeSlice([makeEndpoint(`10.244.9.${index}`)], { service: `filler${index}`, name: `filler${index}` })),
    ],
  );
}
