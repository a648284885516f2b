/**
 * The apiserver's proxy to nodes, pods and Services, reached through the gateway: each answer is the one that the apiserver itself gives,
 * but for the lines at the top. (Kubernetes' own cases: apimachinery's transport_test.go and upgradeaware_test.go, the storage tests of
 * services, pods and nodes, and test/e2e/network/proxy.go)
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { waitUntil } from "#test/cluster/harness/command.ts";
import type { HttpAnswer, HttpQuestion } from "#test/cluster/fixture/http-client.ts";
import { audienceOf, clusterName, gatewayHost, gatewayUrl, namespace } from "#test/cluster/fixture/names.ts";
import { ann, lee, mia, prefix } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import { createAuthority } from "#cli/workerd/certificates.ts";

/** Each connection's or each answer's own, or what the gateway promises to add or to change. */
const ownHeaders: ReadonlySet<string> = new Set([
  ...["audit-id", "cache-control", "connection", "content-length", "date", "keep-alive", "server-timing", "transfer-encoding"],
  // A long answer is told when its credential ends.
  "warning",
  // An application's page must not act as the API's origin.
  "content-security-policy",
  "x-content-type-options",
]);

const pods = `/api/v1/namespaces/${namespace}/pods`;
const services = `/api/v1/namespaces/${namespace}/services`;

/** Registers the tests. */
export function apiserverProxyTests(system: () => GatewaySystem): void {
  beforeAll(() => startBackend(system()));

  /** Asks both, and finds the same. */
  async function same(question: HttpQuestion, person = lee): Promise<HttpAnswer> {
    const [here, there] = await Promise.all([system().ask(person, question), system().askDirectly(person, question)]);
    expect(here.status).toBe(there.status);
    expect(here.bytes.equals(there.bytes), `${here.text.slice(0, 400)}\n— is not —\n${there.text.slice(0, 400)}`).toBe(true);
    expect(shared(here, `/k/${clusterName}`)).toEqual(shared(there, ""));
    return here;
  }

  describe("reaches its target", () => {
    test.each([
      [`${pods}/backend:8160/proxy/`, "foo"],
      [`${pods}/http:backend:8162/proxy/`, "bar"],
      [`${pods}/http::backend:8160/proxy/`, undefined],
      [`${pods}/https:backend:8460/proxy/`, "tls baz"],
      [`${pods}/backend/proxy/text`, '<a href="/x">'],
      [`${pods}/backend:1/proxy/`, undefined],
      [`${pods}/absent/proxy/`, undefined],
      [`${services}/backend:one/proxy/`, "foo"],
      [`${services}/http:backend:one/proxy/`, "foo"],
      [`${services}/backend:81/proxy/`, "bar"],
      [`${services}/https:backend:tls/proxy/`, "tls baz"],
      [`${services}/backend/proxy/`, undefined],
      [`${services}/backend:bad/proxy/`, undefined],
      [`${services}/unnamed/proxy/text`, '<a href="/x">'],
      [`${services}/unnamed:/proxy/text`, '<a href="/x">'],
      [`${services}/unnamed:93/proxy/text`, '<a href="/x">'],
      [`${services}/unnamed:80/proxy/text`, undefined],
      [`${services}/nobody/proxy/`, undefined],
      [`${services}/foreign/proxy/`, undefined],
      [`${services}/absent/proxy/`, undefined],
      [`${services}/:one/proxy/`, undefined],
      [`${services}/a:b:c:d/proxy/`, undefined],
      [`${services}/ftp:backend:one/proxy/`, undefined],
    ])("%s", async (target, text) => {
      const answer = await same({ path: target });
      if (text === undefined) expect(JSON.parse(answer.text)).toMatchObject({ kind: "Status", status: "Failure" });
      else expect(answer.text).toBe(text);
    });

    test.each([["/healthz"], ["/logs/"], ["/metrics/probes"], [":10250/proxy/healthz"]])("a node's %s", async (rest) => {
      const target = rest.startsWith(":") ? `/api/v1/nodes/node1${rest}` : `/api/v1/nodes/node1/proxy${rest}`;
      const answer = await system().ask(ann, { path: target });
      expect(answer.status).toBe(200);
      if (rest !== "/metrics/probes") await same({ path: target }, ann);
    });

    test("but no port of a pod by its name, of which an apiserver built with Go 1.26 dies without an answer", async () => {
      const answer = await system().ask(lee, { path: `${pods}/backend:main/proxy/` });
      expect([502, 503]).toContain(answer.status);
      expect(JSON.parse(answer.text)).toMatchObject({ kind: "Status", status: "Failure" });
    });

    test("and no command of a node's kubelet, which a GET of nodes/proxy would run", async () => {
      const answer = await system().ask(ann, { path: `/api/v1/nodes/node1/proxy/run/${namespace}/backend/main?cmd=id`, method: "POST" });
      expect(answer.status).toBe(403);
      expect(answer.text).toContain("lets only reading of");
    });
  });

  describe("carries the request", () => {
    test.each(["DELETE", "OPTIONS", "PATCH", "POST", "PUT"])("%s without a path behind the subresource", async (method) => {
      const headers = { "content-length": "4" };
      const answer = await echoed({ path: `${pods}/backend/proxy?method=${method}`, method, headers, body: "body" }, ann);
      expect(answer).toMatchObject({ method, url: `/?method=${method}`, body: "body" });
    });

    test.each(["GET", "HEAD"])("%s without a path behind the subresource is sent to the slash, query and all", async (method) => {
      const answer = await same({ path: `${pods}/backend/proxy?method=${method}&x=%2F`, method });
      expect(answer.status).toBe(301);
      expect(answer.headers.location).toBe(`/k/${clusterName}${pods}/backend/proxy/?method=${method}&x=%2F`);
    });

    test("with its path decoded and cleaned, and its query as it is", async () => {
      const answer = await echoed({ path: `${pods}/backend/proxy/a%2Fb//c/d%20e?x=%2F;y` });
      expect(answer.url).toBe("/a/b/c/d%20e?x=%2F;y");
    });

    test("with the user's cookies and headers, and with nothing that says who they are", async () => {
      const headers = { cookie: "a=1; b=2", "x-app": "yes", "x-remote-user": "eve", "impersonate-group": "system:masters" };
      const answer = await system().ask(lee, { path: `${pods}/backend/proxy/`, headers });
      // Impersonation of another than the user is the user's to ask for, and not theirs to have.
      expect(answer.status).toBe(400);
      const { "impersonate-group": _dropped, ...allowed } = headers;
      const seen = await echoed({ path: `${pods}/backend/proxy/`, headers: allowed });
      expect(seen.headers).toMatchObject({ cookie: "a=1; b=2", "x-app": "yes" });
      expect(seen.headers).toMatchObject({ "x-forwarded-host": gatewayHost, "x-forwarded-proto": "https" });
      const names = Object.keys(seen.headers);
      expect(names.filter((name) => /^(?:authorization|x-remote-|impersonate-)/.test(name))).toEqual([]);
    });

    test("but never a dry run", async () => {
      const answer = await same({ path: `${services}/backend:one/proxy/?dryRun=All` });
      expect(answer.status).toBe(400);
    });

    test("as far as RBAC gives the verb of its method", async () => {
      const target = `${services}/backend:one/proxy/`;
      expect((await same({ path: target }, mia)).text).toBe("foo");
      for (const method of ["POST", "OPTIONS"]) expect((await same({ path: target, method }, mia)).status).toBe(403);
    });

    async function echoed(question: HttpQuestion, person = lee): Promise<Echo> {
      const answer = await system().ask(person, question);
      expect(answer.status).toBe(200);
      return JSON.parse(answer.text) as Echo; // what the backend says
    }
  });

  describe("carries the answer", () => {
    test.each([
      ["a page with links", "/page"],
      ["a page in gzip", "/page?encoding=gzip"],
      ["a page in deflate", "/page?encoding=deflate"],
      ["text that looks like a page", "/text"],
      ["cookies and CORS fields", "/cookie"],
      ["a failure of the application", "/status?code=418"],
      ["no content", "/status?code=204"],
      ["a redirect to a path", "/redirect?to=/target/"],
      ["a redirect beside", "/redirect?to=beside"],
      ["a redirect to the backend's own address", "/redirect?to=http://BACKEND/target/"],
      ["a redirect to elsewhere", "/redirect?to=http://elsewhere.example/x"],
      ["a redirect that is none", "/redirect?to=http://%5B"],
    ])("%s", async (_what, rest) => {
      await same({ path: `${pods}/backend/proxy${rest}` });
    });

    test("a page's links lead back through the proxy", async () => {
      const { text } = await same({ path: `${pods}/https:backend:8443/proxy/page` });
      expect(text).toContain(`${pods}/https:backend:8443/proxy/UP/`);
      expect(text).toContain('href="relative.log"');
      expect(text).toContain('href="http://elsewhere.example/x"');
    });
  });

  test("a WebSocket to an application says and hears what it does directly", async () => {
    const token = await system().provider.token(lee, { audience: audienceOf(clusterName) });
    const host = system().cluster.hostAddress;
    const socket = new WebSocket(`${gatewayUrl.replace("https", "wss")}/k/${clusterName}${pods}/backend/proxy/ws?a=1`, {
      ca: system().authorityPem,
      headers: { authorization: `Bearer ${token}` },
      lookup: (_name, options, callback) =>
        options.all === true ? callback(null, [{ address: host, family: 4 }]) : callback(null, host, 4),
    });
    await once(socket, "open");
    socket.send("ahoy");
    const [said] = (await once(socket, "message")) as [Buffer];
    expect(said.toString("utf8")).toBe("ahoy");
    socket.terminate();
  });
}

interface Echo {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An answer's headers without those of the hop; a Location without the gateway's own path before it. */
function shared(answer: HttpAnswer, entrance: string): Readonly<Record<string, unknown>> {
  const { location } = answer.headers;
  const kept = Object.entries(answer.headers).filter(([name]) => !ownHeaders.has(name));
  const isOwn = location?.startsWith(`${entrance}/api/`) === true;
  return { ...Object.fromEntries(kept), ...(isOwn && { location: location.slice(entrance.length) }) };
}

async function startBackend(system: GatewaySystem): Promise<void> {
  const { cluster, image } = system;
  const authority = await createAuthority("proxied backend", 86_400_000);
  const { certificate, key } = await authority.issue(["backend"]);
  const source = readFileSync(path.join(import.meta.dirname, "proxied-backend.ts"), "utf8");
  await cluster.admin(["apply", "-f", "-"], {
    stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items: backendObjects(image.name, { source, certificate, key }) }),
  });
  await cluster.admin(["-n", namespace, "wait", "--for=condition=Ready", "pod/backend", "--timeout=120s"]);
  const target = `${services}/backend:one/proxy/`;
  await waitUntil("the Service has its pod", 60_000, async () => (await system.askDirectly(lee, { path: target })).text === "foo");
}

interface BackendFiles {
  readonly source: string;
  readonly certificate: string;
  readonly key: string;
}

function backendObjects(image: string, files: BackendFiles): readonly object[] {
  const place = (name: string): object => ({ name, namespace });
  const service = (name: string, spec: object): object => ({ apiVersion: "v1", kind: "Service", metadata: place(name), spec });
  return [
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: place("backend"),
      data: { "backend.ts": files.source, "tls.crt": files.certificate, "tls.key": files.key },
    },
    backendPod(image),
    service("backend", {
      selector: { app: "backend" },
      ports: [
        { name: "one", port: 80, targetPort: 8160 },
        { name: "two", port: 81, targetPort: 8162 },
        { name: "tls", port: 443, targetPort: 8460 },
      ],
    }),
    service("unnamed", { selector: { app: "backend" }, ports: [{ port: 93, targetPort: 8080 }] }),
    service("nobody", { selector: { app: "nobody" }, ports: [{ port: 80 }] }),
    // Endpoints that are no pod of this namespace are not proxied to: neither another's address nor the node's own.
    service("foreign", { ports: [{ port: 80 }] }),
    {
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: place("foreign"),
      subsets: [{ addresses: [{ ip: "10.96.0.1" }], ports: [{ port: 443 }] }],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: place("app-reader"),
      rules: [{ apiGroups: [""], resources: ["services/proxy"], verbs: ["get"] }],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: place("app-reader"),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "app-reader" },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: prefix + mia.name }],
    },
  ];
}

/** Node runs the file as it is: it takes the types out by itself. */
function backendPod(image: string): object {
  const main = {
    name: "main",
    image,
    command: ["/bin/node", "/srv/backend.ts"],
    ports: [{ name: "main", containerPort: 8080 }, { containerPort: 8160 }],
    readinessProbe: { httpGet: { port: 8160 }, periodSeconds: 1 },
    volumeMounts: [{ name: "files", mountPath: "/srv" }],
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "backend", namespace, labels: { app: "backend" } },
    spec: { containers: [main], volumes: [{ name: "files", configMap: { name: "backend" } }], terminationGracePeriodSeconds: 0 },
  };
}
