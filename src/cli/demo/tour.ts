/** The demo's tour: what two people with different rights ask through the gateway, what comes back, and how long each hop took. */
import { WebSocket } from "ws";
import { paint } from "#cli/output/style.ts";
import type { DemoSystem, SignedIn } from "./demo-system.ts";

export interface TourOutput {
  readonly line: (text: string) => void;
  readonly hasColor: boolean;
}

/** One stop of the tour. */
interface Stop {
  readonly who: SignedIn;
  /** The kubectl command that does the same. */
  readonly command: string;
  readonly run: (who: SignedIn) => Promise<Result>;
  readonly expect: (result: Result) => boolean;
}

interface Result {
  readonly status: number;
  /** What came back, in a few words. */
  readonly answer: string;
  readonly timing: string;
}

/** Runs all stops; whether each came out as it should. */
export async function runTour(system: DemoSystem, output: TourOutput): Promise<boolean> {
  const failed: string[] = [];
  for (const stop of await planStops(system)) {
    const result = await stop.run(stop.who);
    const ok = stop.expect(result);
    if (!ok) failed.push(stop.command);
    const mark = paint(ok ? "green" : "red", ok ? "✔" : "✖", output.hasColor);
    output.line(`${mark} ${paint("bold", stop.who.name.padEnd(5), output.hasColor)} ${stop.command}`);
    output.line(`         ${result.status} ${result.answer}`);
    if (result.timing !== "") output.line(paint("dim", `         ${result.timing}`, output.hasColor));
  }
  return failed.length === 0;
}

async function planStops(system: DemoSystem): Promise<readonly Stop[]> {
  const [admin, developer] = system.people;
  if (admin === undefined || developer === undefined) throw new Error("the tour needs two people");
  const { namespace } = system;
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  const secrets = "/api/v1/namespaces/default/secrets";
  const get = (target: string) => (who: SignedIn) => ask(system, who, target);
  // On somebody's own cluster dana may view, which nodes are no part of.
  const seen = system.isSandbox ? "nodes" : "namespaces";
  const forged = (who: SignedIn): Stop => ({
    who: { ...who, token: `${who.token.slice(0, -6)}AAAAAA` },
    command: "the same with a forged token",
    run: get(pods),
    expect: (result) => result.status === 401,
  });
  const stops: Stop[] = [
    { who: admin, command: "kubectl auth whoami", run: (who) => whoAmI(system, who), expect: isOk },
    { who: admin, command: `kubectl get ${seen}`, run: get(`/api/v1/${seen}`), expect: isOk },
    { who: developer, command: "kubectl -n default get secrets", run: get(secrets), expect: (result) => result.status === 403 },
  ];
  if (!system.isSandbox)
    return [...stops, { who: admin, command: `kubectl -n ${namespace} get pods`, run: get(pods), expect: isOk }, forged(admin)];
  const pod = await firstPod(system, developer, `${pods}?labelSelector=app%3Dclock`);
  return [
    ...stops,
    { who: developer, command: `kubectl -n ${namespace} get pods`, run: get(pods), expect: isOk },
    { who: developer, command: `kubectl -n ${namespace} logs ${pod} --tail=1`, run: get(`${pods}/${pod}/log?tailLines=1`), expect: isOk },
    { who: developer, command: `kubectl -n ${namespace} get pods --watch`, run: (who) => watch(system, who, pods), expect: isOk },
    {
      who: developer,
      command: `kubectl -n ${namespace} exec ${pod} -- sh -c 'echo hello; exit 3'`,
      run: (who) => exec(system, who, `${pods}/${pod}`),
      expect: (result) => result.answer.includes("exit code 3"),
    },
    forged(developer),
  ];
}

function isOk(result: Result): boolean {
  return result.status >= 200 && result.status < 300;
}

async function ask(
  system: DemoSystem,
  who: SignedIn,
  target: string,
  init: { readonly method?: string; readonly body?: string } = {},
): Promise<Result> {
  const response = await fetch(system.clusterUrl + target, {
    ...init,
    headers: { authorization: `Bearer ${who.token}`, "content-type": "application/json" },
  });
  const text = await response.text();
  return { status: response.status, answer: describe(text), timing: hops(response.headers.get("server-timing")) };
}

async function whoAmI(system: DemoSystem, who: SignedIn): Promise<Result> {
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  return ask(system, who, "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
    method: "POST",
    body: JSON.stringify(review),
  });
}

async function firstPod(system: DemoSystem, who: SignedIn, target: string): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await fetch(`${system.clusterUrl}${target}`, { headers: { authorization: `Bearer ${who.token}` } });
    const list = (await response.json()) as PodList; // the apiserver's list
    const running = list.items?.find((item) => item.status?.phase === "Running");
    if (running !== undefined) return running.metadata.name;
    await waitForChange(system, who, target, list.metadata?.resourceVersion ?? "");
  }
  throw new Error("no sample pod started");
}

interface PodList {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly items?: readonly { readonly metadata: { readonly name: string }; readonly status?: { readonly phase?: string } }[];
}

async function waitForChange(system: DemoSystem, who: SignedIn, target: string, version: string): Promise<void> {
  const abort = new AbortController();
  const response = await fetch(`${system.clusterUrl}${target}&watch=true&resourceVersion=${version}`, {
    headers: { authorization: `Bearer ${who.token}` },
    signal: abort.signal,
  });
  await response.body?.getReader().read();
  abort.abort();
}

/** Opens a watch, reads its first event, and lets go. */
async function watch(system: DemoSystem, who: SignedIn, target: string): Promise<Result> {
  const abort = new AbortController();
  const response = await fetch(`${system.clusterUrl}${target}?watch=true`, {
    headers: { authorization: `Bearer ${who.token}` },
    signal: abort.signal,
  });
  const first = await response.body?.getReader().read();
  abort.abort();
  const event: { readonly type?: string } = JSON.parse(new TextDecoder().decode(first?.value).split("\n")[0] ?? "{}");
  return {
    status: response.status,
    answer: `first event ${event.type ?? "none"}, the stream stays open`,
    timing: hops(response.headers.get("server-timing")),
  };
}

/** Runs a command over the WebSocket that stock kubectl uses (v5.channel.k8s.io). */
function exec(system: DemoSystem, who: SignedIn, pod: string): Promise<Result> {
  const command = ["sh", "-c", "echo hello; exit 3"].map((word) => `command=${encodeURIComponent(word)}`).join("&");
  const url = `${system.clusterUrl.replace("https:", "wss:")}${pod}/exec?${command}&stdout=true&stderr=true`;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ["v5.channel.k8s.io"], {
      headers: { authorization: `Bearer ${who.token}` },
      perMessageDeflate: false,
    });
    const channels = new Map<number, string>();
    socket.on("message", (data: Buffer) =>
      channels.set(data[0] ?? 0, (channels.get(data[0] ?? 0) ?? "") + data.subarray(1).toString("utf8")),
    );
    socket.on("error", reject);
    socket.on("close", () => {
      const status: { readonly details?: { readonly causes?: readonly { readonly message?: string }[] } } = JSON.parse(
        channels.get(3) ?? "{}",
      );
      resolve({
        status: 101,
        answer: `"${(channels.get(1) ?? "").trim()}", exit code ${status.details?.causes?.[0]?.message ?? "0"}`,
        timing: "",
      });
    });
  });
}

function hops(serverTiming: string | null): string {
  if (serverTiming === null) return "";
  const parts = [...serverTiming.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => `${name} ${ms} ms`);
  return parts.join(" · ");
}

interface Described {
  readonly kind?: string;
  readonly message?: string;
  readonly items?: readonly { readonly metadata?: { readonly name?: string } }[];
  readonly status?: unknown;
}

function describe(text: string): string {
  const document = parse(text);
  if (document === undefined) return text.trim().slice(0, 160);
  if (document.kind === "Status") return document.message ?? "";
  if (document.kind === "SelfSubjectReview") return JSON.stringify(document.status);
  const names = document.items?.map((item) => item.metadata?.name ?? "") ?? [];
  return `${document.kind}: ${names.slice(0, 5).join(", ")}${names.length > 5 ? `, … (${names.length})` : ""}`;
}

function parse(text: string): Described | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a log line, shown as it is
  }
}
