/** The gateway in front of a real Kubernetes: one system for everything, because starting it takes most of a minute. */
import { afterAll, beforeAll, describe } from "vitest";

import { apiserverProxyTests } from "./clients/apiserver-proxy.ts";
import { browserKubeconfigTests } from "./clients/browser-kubeconfig.ts";
import { forwardTests } from "./clients/forward.ts";
import { helmTests } from "./clients/helm.ts";
import { identityTests } from "./clients/identity.ts";
import { programTests } from "./clients/programs.ts";
import { transparencyTests } from "./clients/transparency.ts";
import { twoClusterTests } from "./clients/two-clusters.ts";
import { informerTests } from "./continuity/informers.ts";
import { nodeTests } from "./continuity/nodes.ts";
import { rightsTests } from "./continuity/rights.ts";
import { type GatewaySystem, startGatewaySystem } from "./fixture/system.ts";
import { everydayTests } from "./kubectl/everyday.ts";
import { portForwardTests } from "./kubectl/port-forward.ts";
import { proxiedTests } from "./kubectl/proxied.ts";
import { streamTests } from "./kubectl/streams.ts";

/** Starting and stopping takes most of a minute; other work on the machine may double it. */
const startMs = 180_000;
/** A stream that waits for what does not come should not hold up the rest. */
const timeout = 60_000;
/** Agents and apiservers end and come back in these, and silence has to last until it is noticed. */
const continuityMs = 150_000;
let running: GatewaySystem | undefined;

function system(): GatewaySystem {
  if (running === undefined) throw new Error("the system has not started");
  return running;
}

beforeAll(async () => {
  running = await startGatewaySystem();
}, startMs);

afterAll(async () => {
  await running?.stop();
}, startMs);

describe("every day", { timeout }, () => everydayTests(system));
describe("streams", { timeout }, () => streamTests(system));
describe("port-forward", { timeout }, () => portForwardTests(system));
describe("through sallyport proxy", { timeout }, () => proxiedTests(system));
describe("helm", { timeout }, () => helmTests(system));
describe("programs", { timeout }, () => programTests(system));
describe("transparency", { timeout }, () => transparencyTests(system));
describe("apiserver proxy", { timeout }, () => apiserverProxyTests(system));
describe("forward", { timeout: continuityMs }, () => forwardTests(system));
describe("identity", { timeout }, () => identityTests(system));
describe("kubeconfig from the browser", { timeout }, () => browserKubeconfigTests(system));
describe("two clusters", { timeout }, () => twoClusterTests(system));
describe("continuity", { timeout: continuityMs }, () => informerTests(system));
describe("nodes", { timeout: continuityMs }, () => nodeTests(system));
describe("rights", { timeout: continuityMs }, () => rightsTests(system));
