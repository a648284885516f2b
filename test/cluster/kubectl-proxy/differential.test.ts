/**
 * Section 8.1 of what kubectl proxy does (its own tests, its e2e tests, and what was measured of it), put to `kubectl proxy` and to
 * `sallyport proxy` in front of the same apiserver. Both must do what is expected; the only rows where they may differ are those that
 * docs/compatibility.md lists, and there both answers are written down.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { type Cluster, startCluster } from "#test/cluster/harness/cluster.ts";

import { contenders, type Observation, type Question, runContender, type RunningContender, startContender } from "./contenders.ts";

let cluster: Cluster;
let folder: string;
/** An apiserver that does what a test says, where the real one cannot be made to. */
let scripted: Server;
let onRequest: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) => void response.end();

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "sallyport-kubectl-proxy-"));
  cluster = await startCluster({ nodes: 0, apiservers: 1 });
  scripted = createServer((request, response) => onRequest(request, response)).listen(0, "127.0.0.1");
  await once(scripted, "listening");
});

afterAll(async () => {
  scripted.closeAllConnections();
  scripted.close();
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

function scriptedFlag(basePath = ""): string {
  return `--server=http://127.0.0.1:${(scripted.address() as AddressInfo).port}${basePath}`; // a TCP listener
}

/** Runs the same with both, each with the flags; what they observe comes back side by side. */
async function withBoth<Seen>(flags: readonly string[], look: (proxy: RunningContender) => Promise<Seen>): Promise<readonly [Seen, Seen]> {
  const seen: Seen[] = [];
  for (const contender of contenders) {
    const proxy = await startContender(contender, cluster.adminKubeconfig, ["--port=0", ...flags]);
    try {
      seen.push(await look(proxy));
    } finally {
      await proxy.stop();
    }
  }
  const [kubectl, sallyport] = seen;
  if (kubectl === undefined || sallyport === undefined) throw new Error("one of the two was not asked");
  return [kubectl, sallyport];
}

const forbidden = { status: 403, contentType: "text/plain; charset=utf-8", body: "Forbidden\n" };
const pods = "/api/v1/namespaces/default/pods";

interface Row extends Question {
  readonly id: string;
  readonly status: number;
}

/** Answers of the apiserver itself have these; a 403 of the filter is plain text, so it cannot be taken for one. */
const defaultRows: readonly Row[] = [
  { id: "KP01", target: "/", host: "127.0.0.1", status: 200 },
  { id: "KP02", target: "/api/v1/pods", host: "127.0.0.1", status: 200 },
  { id: "KP02", target: "/api/v1/pods", host: "localhost", status: 200 },
  { id: "KP03", target: `${pods}/foo`, status: 404 },
  { id: "KP04", target: `${pods}/attachfoo`, status: 404 },
  { id: "KP04", target: `${pods}/execfoo`, status: 404 },
  { id: "KP06", method: "POST", target: `${pods}/somepod/exec`, status: 403 },
  { id: "KP06", method: "POST", target: `${pods}/somepod/attach`, status: 403 },
  { id: "KP08", target: "/api/v1/pods", host: "evil.com", status: 403 },
  { id: "KP08", target: "/api/v1/pods", host: "localhost.evil.com", status: 403 },
  { id: "KP08", target: "/api/v1/pods", host: "127a0b0c1", status: 403 },
  { id: "KP09", target: "/ui", status: 404 },
  { id: "KP09", method: "POST", target: "/api/v1/pods", status: 405 },
  { id: "KP09", method: "PUT", target: `${pods}/somepod`, status: 400 },
  { id: "KP09", method: "PATCH", target: `${pods}/somepod`, status: 415 },
  { id: "KP13", target: "/version", host: "localhost:8085", status: 200 },
  { id: "KP13", target: "/version", host: "marmalade", status: 403 },
  { id: "KP14", target: "/version", host: "[::1]", status: 200 },
  { id: "KP18", target: `${pods}/y/%65xec`, status: 403 },
  { id: "KP19", target: `${pods}/y/execute`, status: 403 },
  { id: "KP19", target: `${pods}/y/EXEC`, status: 404 },
  { id: "KP19", method: "POST", target: `${pods}/y/portforward`, status: 404 },
  { id: "KP29", target: "//api//v1", status: 307 },
  { id: "KP29", method: "POST", target: "//api//v1", status: 307 },
  { id: "KP29", target: "/api/../version?x=1", status: 307 },
];

interface FlagRow extends Row {
  readonly flags: readonly string[];
}

const flagRows: readonly FlagRow[] = [
  { id: "KP07", flags: ["--reject-paths="], method: "POST", target: `${pods}/somepod/exec`, status: 404 },
  { id: "KP11", flags: ["--reject-methods=POST,PUT,PATCH"], method: "PATCH", target: `${pods}/x`, status: 403 },
  { id: "KP11", flags: ["--reject-methods=POST,PUT,PATCH"], method: "PUT", target: `${pods}/x`, status: 403 },
  { id: "KP12", flags: ["--accept-paths=bar,.*"], target: "/version", status: 200 },
  { id: "KP12", flags: ["--accept-paths=bar,ver.*"], target: "/version", status: 200 },
  { id: "KP12", flags: ["--accept-paths=bar,ver.*"], target: "/healthz", status: 403 },
  { id: "KP16", flags: ["--reject-paths=^/x,"], target: "/version", status: 403 },
  { id: "KP17", flags: ["--accept-hosts="], target: "/version", status: 403 },
  { id: "KP23", flags: ["--api-prefix=/api/"], target: "/metrics", status: 404 },
  { id: "KP23", flags: ["--api-prefix=/api/"], target: "/api/v1", status: 200 },
  { id: "KP26", flags: ["--api-prefix=/custom/"], target: "/custom/api/v1", status: 200 },
  { id: "KP26", flags: ["--api-prefix=/custom/", "--append-server-path"], target: "/custom/version", status: 200 },
  { id: "KP26", flags: ["--api-prefix=/custom"], target: "/custom", status: 307 },
];

describe("the filter and the paths", () => {
  test("by default do with every request what kubectl does", async () => {
    const [kubectl, sallyport] = await withBoth([], async (proxy) => {
      const answers = [];
      for (const row of defaultRows) answers.push({ row, ...(await proxy.ask(row)) });
      return answers;
    });
    expect(sallyport.map((answer) => comparable(answer))).toEqual(kubectl.map((answer) => comparable(answer)));
    expect(sallyport.map(({ row, status }) => [row.id, row.target, status])).toEqual(
      defaultRows.map((row) => [row.id, row.target, row.status]),
    );
    for (const answer of sallyport.filter(({ status }) => status === 403)) expect(answer).toMatchObject(forbidden);
  });

  test.each(flagRows)("$id: with $flags, $target", async ({ flags, status, ...question }) => {
    const [kubectl, sallyport] = await withBoth(flags, (proxy) => proxy.ask(question));
    expect(kubectl.status).toBe(status);
    expect(comparable(sallyport)).toEqual(comparable(kubectl));
  });

  test("KP14 differs: an IPv6 host with a port passes here, and kubectl's own default refuses it", async () => {
    const answers = await withBoth([], (proxy) => proxy.ask({ target: "/version", host: "[::1]:8001" }));
    expect(answers.map(({ status }) => status)).toEqual([403, 200]);
  });
});

/** An answer without what differs from one request to the next; a redirect's page for people is no part of it. */
function comparable<Seen extends Observation>(answer: Seen) {
  const { body, contentType, ...rest } = answer;
  return answer.status === 307 ? rest : { ...rest, contentType, body: body.replaceAll(/"resourceVersion":"\d+"/g, "") };
}

describe("requests", () => {
  test("KP21: a file of a directory is served", async () => {
    mkdirSync(path.join(folder, "www", "foo"), { recursive: true });
    writeFileSync(path.join(folder, "www", "foo", "test.txt"), "test content");
    const answers = await withBoth([`--www=${path.join(folder, "www")}`], (proxy) => proxy.ask({ target: "/static/foo/test.txt" }));
    for (const answer of answers)
      expect(answer).toMatchObject({ status: 200, body: "test content", contentType: "text/plain; charset=utf-8" });
  });

  test.each([
    ["KP22", "GET", ""],
    ["KP22", "DELETE", ""],
    ["KP22", "POST", "test payload"],
    ["KP22", "PUT", "test payload"],
  ])("%s: %s arrives with method, request URI and body", async (_id, method, body) => {
    onRequest = (request, response) => {
      void text(request).then((received) => response.end(JSON.stringify([request.method, request.url, received])));
    };
    const target = "/api/test?fields=ID%3Dfoo&labels=key%3Dvalue";
    const answers = await withBoth([scriptedFlag()], (proxy) => proxy.ask({ method, target, body }));
    for (const answer of answers) expect(JSON.parse(answer.body)).toEqual([method, target, body]);
  });

  test.each([
    ["KP24", "", [], "/metrics", "/metrics"],
    ["KP24", "", [], "/api/v1/pods/", "/api/v1/pods/"],
    ["KP24", "", [], "/a%2Fb?x=%2F;y", "/a%2Fb?x=%2F;y"],
    ["KP23", "", ["--api-prefix=/api/"], "/api/v1/pods/", "/api/v1/pods/"],
    ["KP26", "", ["--api-prefix=/custom/"], "/custom/api/metrics", "/api/metrics"],
    ["KP27", "/base/path", ["--append-server-path"], "/api/v1/pods", "/base/path/api/v1/pods"],
    ["KP28", "/base/path", [], "/api/v1/pods", "/api/v1/pods"],
  ])("%s: with the server path %j and %j, a target is sent as expected", async (_id, basePath, flags, ...[target, sent]) => {
    onRequest = (request, response) => void response.end(request.url);
    const answers = await withBoth([scriptedFlag(basePath), ...flags], async (proxy) => ({
      body: (await proxy.ask({ target })).body,
      warned: proxy.stderr.includes("Your kube context contains a server path /base/path, use --append-server-path"),
    }));
    const wanted = { body: sent, warned: basePath !== "" && flags.length === 0 };
    expect(answers).toEqual([wanted, wanted]);
  });

  test("KP27: an upgrade has the server's path too, and its connection is joined", async () => {
    scripted.on("upgrade", (request, socket) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n${request.url};`);
      socket.once("data", (chunk: Buffer) => socket.end(chunk));
    });
    const raw = await withBoth([scriptedFlag("/base/path"), "--append-server-path"], (proxy) =>
      proxy.converse("GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", "bytes"),
    );
    scripted.removeAllListeners("upgrade");
    for (const bytes of raw) expect(bytes).toMatch(/^HTTP\/1\.1 101 [^]*\r\n\r\n\/base\/path\/ws;bytes$/);
  });

  test.each([
    ["Authorization", "Bearer other"],
    ["Impersonate-User", "other"],
  ])("KP36 differs: a client's %s wins at kubectl, and is refused here", async (name, value) => {
    const seen: (string | undefined)[] = [];
    onRequest = (request, response) => {
      seen.push(String(request.headers[name.toLowerCase()]));
      response.end();
    };
    const answers = await withBoth([scriptedFlag(), "--as=somebody"], (proxy) => proxy.ask({ target: "/api", headers: { [name]: value } }));
    expect([answers.map(({ status }) => status), seen]).toEqual([[200, 403], [value]]);
  });

  test("KP37: each piece of an answer arrives before the next is sent", async () => {
    const heard = await withBoth([scriptedFlag()], async (proxy) => {
      let send: () => void = () => undefined;
      onRequest = (_request, response) => {
        response.flushHeaders();
        send = () => void response.write("piece");
      };
      const answer = await proxy.open({ target: "/watch" });
      const pieces: string[] = [];
      while (pieces.length < 5) {
        send();
        pieces.push(String((await once(answer, "data"))[0]));
      }
      answer.destroy();
      return pieces;
    });
    for (const pieces of heard) expect(pieces).toEqual(Array(5).fill("piece"));
  });

  test("KP38: of an answer whose length is known, head and first bytes arrive while the rest is missing", async () => {
    const heard = await withBoth([scriptedFlag()], async (proxy) => {
      onRequest = (_request, response) => {
        response.writeHead(200, { "content-length": 10 });
        response.write("first");
      };
      const answer = await proxy.open({ target: "/slow" });
      const first = String((await once(answer, "data"))[0]);
      answer.destroy();
      return [answer.headers["content-length"], first];
    });
    for (const seen of heard) expect(seen).toEqual(["10", "first"]);
  });

  test("KP39: an answer that breaks off is cut off at the client", async () => {
    const heard = await withBoth([scriptedFlag()], async (proxy) => {
      onRequest = (_request, response) => {
        response.flushHeaders();
        response.write("first", () => response.destroy());
      };
      const answer = await proxy.open({ target: "/broken" });
      return text(answer).then(
        () => "ended",
        () => "cut",
      );
    });
    expect(heard).toEqual(["cut", "cut"]);
  });
});

describe("listening", () => {
  test("KP31: port 0 is told as the port that serves the API's versions", async () => {
    const heard = await withBoth([], async (proxy) => {
      const answer = await proxy.ask({ target: "/api/" });
      return [/^127\.0\.0\.1:\d+$/.test(proxy.address), (JSON.parse(answer.body) as { versions: readonly string[] }).versions];
    });
    for (const seen of heard) expect(seen).toEqual([true, ["v1"]]);
  });

  test("all addresses are served and told alike", async () => {
    const heard = await withBoth(["--address=0.0.0.0"], async (proxy) => [
      proxy.address.replace(/\d+$/, ""),
      (await proxy.ask({ target: "/version" })).status,
    ]);
    for (const seen of heard) expect(seen).toEqual(["[::]:", 200]);
  });

  test("KP32: a unix socket is for its owner alone, and has the host filter", async () => {
    for (const contender of contenders) {
      const socketPath = path.join(folder, `${contender}.sock`);
      const proxy = await startContender(contender, cluster.adminKubeconfig, [`--unix-socket=${socketPath}`]);
      const [local, foreign] = [
        await proxy.ask({ target: "/version", host: "localhost", socketPath }),
        await proxy.ask({ target: "/version", host: "foo", socketPath }),
      ];
      expect([contender, proxy.address, statSync(socketPath).mode & 0o777, local.status, foreign.status]).toEqual([
        contender,
        socketPath,
        0o700,
        200,
        403,
      ]);
      await proxy.stop();
    }
  });

  test("KP33: a socket and a port are refused", async () => {
    for (const contender of contenders) {
      const result = await runContender(contender, cluster.adminKubeconfig, ["--unix-socket=/tmp/x", "--port=8011"]);
      expect(result).toMatchObject({ code: 1, stdout: "", stderr: "error: cannot set --unix-socket and --port at the same time\n" });
    }
  });

  test("KP34: a port in use is refused", async () => {
    const taken = createTcpServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo; // a TCP listener
    for (const contender of contenders) {
      const result = await runContender(contender, cluster.adminKubeconfig, [`--port=${port}`]);
      expect(result).toMatchObject({ code: 1, stdout: "", stderr: `error: listen tcp 127.0.0.1:${port}: bind: address already in use\n` });
    }
    taken.close();
  });

  test.each([
    ["an IPv6 address without brackets", ["--port=0", "--address=::1"], 1],
    ["an expression that does not compile", ["--port=0", "--accept-paths=("], 255],
  ])("%s is refused with the same exit code", async (_what, flags, code) => {
    for (const contender of contenders)
      expect(await runContender(contender, cluster.adminKubeconfig, flags)).toMatchObject({ code, stdout: "" });
  });
});
