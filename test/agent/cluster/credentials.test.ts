import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createInClusterCredentials, createKubeconfigCredentials } from "#agent/cluster/credentials.ts";
import { execRenewalMs, fileRefreshMs } from "#kubeconfig/limits.ts";
import type { RunCommand } from "#kubeconfig/exec-plugin.ts";
import { runCommand } from "#kubeconfig/exec-plugin.ts";
import { codeOf } from "../apiserver/pool-maker.ts";
import { ManualClock } from "../manual-clock.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";

const directory = makeTemporaryDirectory();
const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;

describe("the pod's ServiceAccount", () => {
  function makeAccount(): { readonly clock: ManualClock; readonly account: ReturnType<typeof createInClusterCredentials> } {
    directory.write("token", "first\n");
    directory.write("ca.crt", pem("first"));
    const clock = new ManualClock();
    return { clock, account: createInClusterCredentials({ directory: directory.path, clock }) };
  }

  it("gives its token and authority, and verifies the apiservers' inner name", async () => {
    const { account } = makeAccount();
    expect([await account.authorization(), account.tls()]).toEqual([
      "Bearer first",
      { ca: pem("first"), certificate: undefined, key: undefined, serverName: "kubernetes.default.svc", insecure: false },
    ]);
  });

  it("is read again after a while, and TLS changes only when the authority does", async () => {
    const { account, clock } = makeAccount();
    const before = account.tls();
    directory.write("token", "second");
    expect(await account.authorization()).toBe("Bearer first");
    clock.advance(fileRefreshMs);
    expect([await account.authorization(), account.tls() === before]).toEqual(["Bearer second", true]);
    directory.write("ca.crt", pem("second"));
    clock.advance(fileRefreshMs);
    await account.authorization();
    expect(account.tls().ca).toBe(pem("second"));
  });

  it("is read at once when the apiserver refused it", async () => {
    const { account } = makeAccount();
    directory.write("token", "second");
    account.invalidate();
    expect(await account.authorization()).toBe("Bearer second");
  });

  it.each(["missing", "empty"])("keeps its token while the file is %s", async (how) => {
    const { account, clock } = makeAccount();
    if (how === "missing") rmSync(join(directory.path, "token"));
    else directory.write("token", "");
    clock.advance(fileRefreshMs);
    expect(await account.authorization()).toBe("Bearer first");
  });

  it.each([["two\nlines"], ["a b"], ["a\r\nImpersonate-User: admin"], [" "]])("whose token is %j is no header", async (token) => {
    const { account, clock } = makeAccount();
    directory.write("token", token);
    clock.advance(fileRefreshMs);
    expect(await codeOf(account.authorization())).toBe("AGENT_CREDENTIAL");
  });

  it("that is not there stops the start", () => {
    expect(() => createInClusterCredentials({ directory: join(directory.path, "nowhere"), clock: new ManualClock() })).toThrow(
      expect.objectContaining({ code: "CONFIGURATION_INVALID" }),
    );
  });
});

describe("a kubeconfig's user", () => {
  function makeUser(user: object, run?: RunCommand): { readonly clock: ManualClock } & ReturnType<typeof createKubeconfigCredentials> {
    const config = {
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
      clusters: [{ name: "k", cluster: { server: "https://k.example:6443/", "tls-server-name": "inner" } }],
      users: [{ name: "u", user }],
    };
    const path = directory.write("kubeconfig", JSON.stringify(config));
    const clock = new ManualClock();
    const environment = { PATH: process.env["PATH"] };
    const made = createKubeconfigCredentials({ path, context: undefined, environment, clock, ...(run === undefined ? {} : { run }) });
    return { ...made, clock };
  }

  it("with a token gives it", async () => {
    const { credentials, server } = makeUser({ token: "static" });
    expect([await credentials.authorization(), server, credentials.tls().serverName]).toEqual([
      "Bearer static",
      "https://k.example:6443",
      "inner",
    ]);
  });

  it("with a token file gives what is in it now, whatever token is written beside it", async () => {
    directory.write("user-token", "one");
    const { credentials, clock } = makeUser({ tokenFile: "user-token", token: "stale" });
    expect(await credentials.authorization()).toBe("Bearer one");
    writeFileSync(join(directory.path, "user-token"), "two");
    clock.advance(fileRefreshMs);
    expect(await credentials.authorization()).toBe("Bearer two");
  });

  it("with a certificate shows it and sends no token", async () => {
    const { credentials } = makeUser({
      "client-certificate-data": Buffer.from(pem("cert")).toString("base64"),
      "client-key-data": Buffer.from(pem("key")).toString("base64"),
    });
    expect([await credentials.authorization(), credentials.tls().certificate, credentials.tls().key]).toEqual([
      undefined,
      pem("cert"),
      pem("key"),
    ]);
  });

  describe("of an exec plugin", () => {
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "plugin",
      args: ["-a"],
      env: [{ name: "A", value: "1" }],
      interactiveMode: "Never",
    };

    function answerWith(status: object): string {
      return JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status });
    }

    it("is asked once for everybody, told what it needs to know, and again shortly before its token expires", async () => {
      const runs: (readonly [string, readonly string[], unknown])[] = [];
      const { credentials, clock } = makeUser({ exec: { ...exec, provideClusterInfo: true } }, async (command, args, environment) => {
        runs.push([command, args, environment]);
        const expirationTimestamp = new Date(clock.now() + 60_000).toISOString();
        return answerWith({ token: `token-${runs.length}`, expirationTimestamp });
      });
      expect(await Promise.all([credentials.authorization(), credentials.authorization()])).toEqual(["Bearer token-1", "Bearer token-1"]);
      expect(runs[0]?.slice(0, 2)).toEqual(["plugin", ["-a"]]);
      expect(runs[0]?.[2]).toMatchObject({
        A: "1",
        KUBERNETES_EXEC_INFO: JSON.stringify({
          kind: "ExecCredential",
          apiVersion: exec.apiVersion,
          spec: { interactive: false, cluster: { server: "https://k.example:6443/", "tls-server-name": "inner" } },
        }),
      });
      clock.advance(60_000 - execRenewalMs - 1);
      expect(await credentials.authorization()).toBe("Bearer token-1");
      clock.advance(1);
      expect([await credentials.authorization(), runs.length]).toEqual(["Bearer token-2", 2]);
    });

    it("is asked again when its credential was refused", async () => {
      let runs = 0;
      const { credentials } = makeUser({ exec }, async () => answerWith({ token: `token-${(runs += 1)}` }));
      await credentials.authorization();
      credentials.invalidate();
      expect(await credentials.authorization()).toBe("Bearer token-2");
    });

    it("may give a certificate, which changes TLS", async () => {
      const { credentials } = makeUser({ exec }, async () => answerWith({ clientCertificateData: pem("cert"), clientKeyData: pem("key") }));
      const before = credentials.tls();
      expect([await credentials.authorization(), credentials.tls() === before, credentials.tls().certificate]).toEqual([
        undefined,
        false,
        pem("cert"),
      ]);
      const after = credentials.tls();
      await credentials.authorization();
      expect(credentials.tls()).toBe(after);
    });

    it.each([
      ["nothing", ""],
      ["text", "Please log in at https://…"],
      ["another kind", JSON.stringify({ apiVersion: exec.apiVersion, kind: "Secret", status: { token: "x" } })],
      [
        "another version",
        JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1alpha1", kind: "ExecCredential", status: { token: "x" } }),
      ],
      ["neither token nor certificate", JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status: {} })],
      [
        "a certificate without its key",
        JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status: { clientCertificateData: "x" } }),
      ],
      [
        "a time that is none",
        JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status: { token: "x", expirationTimestamp: "soon" } }),
      ],
      ["a token that is no word", JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status: { token: "a\nb" } })],
    ])("that prints %s is AGENT_CREDENTIAL, and asked again next time", async (_what, output) => {
      let runs = 0;
      const { credentials } = makeUser({ exec }, async () => {
        runs += 1;
        return runs === 1 ? output : answerWith({ token: "good" });
      });
      expect(await codeOf(credentials.authorization())).toBe("AGENT_CREDENTIAL");
      credentials.invalidate();
      expect(await credentials.authorization()).toBe("Bearer good");
    });

    it("runs as a process, without a shell", async () => {
      const script = directory.write(
        "plugin.mjs",
        `console.log(JSON.stringify({apiVersion:JSON.parse(process.env.KUBERNETES_EXEC_INFO).apiVersion,kind:"ExecCredential",status:{token:process.argv[2]}}))`,
      );
      const { credentials } = makeUser({ exec: { ...exec, command: process.execPath, args: [script, "$(id);x"] } });
      expect(await credentials.authorization()).toBe("Bearer $(id);x");
    });

    it.each([
      ["is not there", "/nonexistent/plugin", []],
      ["fails", process.execPath, ["-e", "process.exit(3)"]],
      ["prints without end", process.execPath, ["-e", "setInterval(() => process.stdout.write('x'.repeat(1 << 20)), 0)"]],
    ])("that %s is AGENT_CREDENTIAL", async (_what, command, args) => {
      const { credentials } = makeUser({ exec: { ...exec, command, args } }, runCommand);
      expect(await codeOf(credentials.authorization())).toBe("AGENT_CREDENTIAL");
    });
  });
});
