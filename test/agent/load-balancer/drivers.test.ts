/** Every driver, and the provider that the controller's tests use, by the one contract. */
import { NodeIpDriver } from "#agent/load-balancer/drivers/node-ip.ts";
import { nodeSelectorAnnotation } from "#agent/load-balancer/drivers/node-ip-allocation.ts";
import type { EnsureOutcome, WantedLoadBalancer } from "#agent/load-balancer/driver.ts";
import { describeDriver } from "./driver-contract.ts";
import type { DriverBench } from "./driver-contract.ts";
import { classes } from "./makers.ts";
import { sizeAnnotation, TestCloud, TestCloudDriver } from "./test-cloud.ts";

function makeNodeIpBench(): DriverBench {
  /** What it would write into statuses, by UID: it writes nothing itself. */
  const given = new Map<string, EnsureOutcome>();
  const options = { nodeSelector: [], addresses: "externalFirst", reservedPorts: [] } as const;
  class Recorded extends NodeIpDriver {
    override async ensure(wanted: WantedLoadBalancer): Promise<EnsureOutcome> {
      const outcome = await super.ensure(wanted);
      given.set(wanted.owner.serviceUid, outcome);
      return outcome;
    }
  }
  const driver = new Recorded({ options, classes, readiness: "ignore" });
  const ingressOf = (uid: string) => {
    const outcome = given.get(uid);
    return outcome?.type === "ensured" ? outcome.ingress : [];
  };
  const remove = driver.delete.bind(driver);
  driver.delete = async (owner) => {
    await remove(owner);
    given.delete(owner.serviceUid);
  };
  return {
    driver,
    writes: () => 0,
    served: (uid) =>
      [...new Set(ingressOf(uid).flatMap(({ ports = [] }) => ports.map(({ protocol, port }) => `${protocol}/${port}`)))].toSorted(),
    nodeCount: (uid) => ingressOf(uid).length,
    badAnnotation: { name: nodeSelectorAnnotation, value: "a b" },
  };
}

function makeTestCloudBench(): DriverBench {
  const cloud = new TestCloud();
  const find = (uid: string) => [...cloud.balancers.values()].find(({ owner }) => owner.serviceUid === uid);
  return {
    driver: new TestCloudDriver(cloud, { pass: (call) => call() }),
    writes: () => cloud.writes,
    served: (uid) => [...(find(uid)?.listeners ?? [])].toSorted(),
    nodeCount: (uid) => find(uid)?.targets.split(" ").length ?? 0,
    badAnnotation: { name: sizeAnnotation, value: "huge" },
    failNextWrites: (count) => {
      let left = count;
      cloud.fault = () => {
        left -= 1;
        if (left < 0) throw new Error("crash");
      };
    },
  };
}

describeDriver("node-ip", makeNodeIpBench);
describeDriver("of the tests' provider", makeTestCloudBench);
