/** What one user may take of the gateway, and that the others notice nothing of one who takes more. */
import { once } from "node:events";
import { expect, test, onTestFinished } from "vitest";
import { gatewayAllowance } from "#core/access/user-limits.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { ask, startGateway } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

const streamsPerUser = 3;
const system = useWholeSystem({ variables: { MAX_STREAMS_PER_USER: String(streamsPerUser) } });
const { requestBurst, requestsPerSecond, abandonedCost, maxShortRequests } = gatewayAllowance(streamsPerUser);

/** Requests that a flood has open at any time. */
const openAtOnce = 30;

const pods = "/k/one/api/v1/namespaces/web/pods";

async function openRequest(token: string, path: string): Promise<RawConnection> {
  const connection = await RawConnection.open(system.gateway);
  connection.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  return connection;
}

test("watches of one user beyond the gateway's own limit are refused before the cluster sees them, and go on when one was closed", async () => {
  const closed: Promise<unknown>[] = [];
  system.apiserver.onRequest = (request, response) => {
    closed.push(once(request.socket, "close"));
    response.writeHead(200).write("first\n");
  };
  const token = await system.cluster.token("watcher");
  const watch = async () => {
    const connection = await openRequest(token, `${pods}?watch=1`);
    await connection.until((received) => /first|HTTP\/1\.1 429/.test(received));
    return connection;
  };
  const watches = await Promise.all(Array.from({ length: streamsPerUser }, watch));
  const refused = await watch();
  expect(refused.received).toMatch(/^HTTP\/1\.1 429/);
  expect(refused.received).toMatch(/retry-after: 1\r\n/i);
  expect(refused.received).toContain("RATE_LIMITED: one user has at most 3 watches and streams open");
  expect(system.apiserver.seen).toHaveLength(streamsPerUser);
  watches[0]?.reset();
  await Promise.race(closed);
  expect((await watch()).received).toContain("first");
  for (const connection of watches) connection.reset();
});

test("requests of one user that are not answered are at most as many as an apiserver takes at all, and another user's go on", async () => {
  system.apiserver.onRequest = (request, response) => {
    if (request.url?.endsWith("/stuck") !== true) response.end("{}");
  };
  const token = await system.cluster.token("waiter");
  const stuck = await Promise.all(Array.from({ length: maxShortRequests }, async () => openRequest(token, `${pods}/stuck`)));
  await system.apiserver.whenSeenCount(maxShortRequests, ({ target }) => target.endsWith("/stuck"));
  const refused = await openRequest(token, `${pods}/one-more`);
  expect(await refused.answer()).toMatchObject({ status: 429, headers: expect.arrayContaining([["retry-after", "1"]]) });
  expect(system.apiserver.seen.some(({ target }) => target.endsWith("/one-more"))).toBe(false);
  expect((await ask(system.gateway, `${pods}/p`, { token: await system.cluster.token("other") })).status).toBe(200);
  for (const connection of [...stuck, refused]) connection.reset();
});

test("requests that are left as soon as they were opened are soon refused before the cluster sees them, and no other user's fails", async () => {
  system.apiserver.onRequest = (request, response) => {
    if (request.url?.includes("/left-") !== true) response.end("{}");
  };
  const token = await system.cluster.token("flooder");
  const other = await system.cluster.token("bystander");
  const names = Array.from({ length: 1_000 }, (_, index) => `/left-${index}`);
  const flood = async () => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const wanted = name;
      const connection = await openRequest(token, pods + name);
      const seen = system.apiserver.whenSeen(({ target }) => target.endsWith(wanted));
      await Promise.race([seen, connection.until((received) => received.includes("429"))]);
      connection.reset();
    }
  };
  const startedMs = performance.now();
  const flooding = Promise.all(Array.from({ length: openAtOnce }, flood));
  const statuses = new Set<number>();
  while (names.length > 0) statuses.add((await ask(system.gateway, `${pods}/p`, { token: other })).status);
  await flooding;
  const seconds = (performance.now() - startedMs) / 1000;
  const carried = system.apiserver.seen.filter(({ target }) => target.includes("/left-")).length;
  expect(carried).toBeLessThan((requestBurst + requestsPerSecond * seconds) / abandonedCost + openAtOnce);
  expect(statuses).toEqual(new Set([200]));
});

test("a gateway whose variables are wrong serves nobody, and says all that is wrong to clients and in its log", async () => {
  const gateway = await startGateway({ bundle: gatewayBundle, variables: { UPLOAD_BUFFER_MIB: "many", MAX_STREAMS_PER_USER: "0" } });
  onTestFinished(() => gateway.stop());
  const answer = await ask(gateway, "/healthz");
  expect(answer.status).toBe(400);
  const { message } = JSON.parse(answer.body);
  expect(message).toMatch(/^CONFIGURATION_INVALID: UPLOAD_BUFFER_MIB must be .*; MAX_STREAMS_PER_USER must be /);
  const told = () => gateway.lines.filter((line) => line.includes('"event":"configuration-invalid"'));
  while (told().length === 0) await ask(gateway, "/healthz");
  expect(told()).toHaveLength(1);
});
