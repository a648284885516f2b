/** Seeded requests, weighted to forms on which two parsers could disagree. */
import type { Question } from "./oracle.ts";

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One request: a plausible API path, usually with something nasty done to it, and a query of list options. */
export function generateRequest(random: () => number): Question {
  const choose = createChooser(random);
  if (random() < 0.25) return [choose(["GET", "GET", "GET", "HEAD", "DELETE"]), `/api/v1/pods?${selectorsOf(choose)}`];
  let path = choose<() => string>([
    () => resourcePath(choose),
    () => resourcePath(choose),
    () => resourcePath(choose),
    () => `/${choose(nonResourcePaths)}`,
    () => `/${Array.from({ length: Math.floor(random() * 8) }, () => choose(segments)).join("/")}`,
  ])();
  if (random() < 0.3) path = mutate(path, random, choose);
  if (random() < 0.1) path += "/";
  const query = random() < 0.6 ? `?${queryOf(random, choose)}` : "";
  return [choose(methods), path + query];
}

type Choose = <Item>(items: readonly [Item, ...Item[]]) => Item;

function createChooser(random: () => number): Choose {
  return (items) => items[Math.floor(random() * items.length)] ?? items[0];
}

const methods = [
  "GET",
  "GET",
  "GET",
  "GET",
  "GET",
  "GET",
  "GET",
  "DELETE",
  "DELETE",
  "DELETE",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "OPTIONS",
  "get",
  "TRACE",
  "LIST",
  "PROPFIND",
] as const;
const nonResourcePaths = [
  "",
  "api",
  "apis",
  "api/v1",
  "apis/apps",
  "apis/apps/v1",
  "version",
  "openapi/v3",
  "openapi/v3/apis/apps/v1",
  "healthz/etcd",
  "metrics",
  "logs/a%20b",
  "apisx/a/b/c",
  "Api/v1/pods",
] as const;
const resources = [
  "pods",
  "secrets",
  "namespaces",
  "nodes",
  "services",
  "watch",
  "proxy",
  "status",
  "finalize",
  "p%C3%B6ds",
  "api",
  "exec",
] as const;
const names = [
  "x",
  "system:node",
  "system%3Anode",
  "https:web:443",
  "a%20b",
  "proxy",
  "watch",
  "namespaces",
  "status",
  "finalize",
  "%E2%82%AC",
  "a+b",
  "a@b",
  "A.b-c_d~e",
  "%22",
  "%5Bx%5D",
] as const;
const subresources = ["proxy", "proxy", "log", "exec", "status", "finalize", "watch", "namespaces", "scale"] as const;
const tails = ["", "/", "/a//b", "/../../secrets", "/%2e%2e/x", "/%2f%00%0a", "/;a=b", "/%ff", "//", "/a/b/c/proxy/d"] as const;
const segments = ["api", "apis", "v1", "namespaces", "pods", "watch", "proxy", "a", "status", "finalize", "x"] as const;
const insertions = [
  "%2f",
  "%2F",
  "/",
  "//",
  "/./",
  "/../",
  "%2e%2e",
  ".",
  "..",
  "%5c",
  "\\",
  ";",
  ";x=1",
  "%00",
  "%0a",
  "%25",
  "%2525",
  "%6e",
  "%61",
  "%3A",
  "%40",
  "%c0%af",
  "%ff",
  "%ed%a0%80",
  "%e2%82%ac",
  "%",
  "%4",
  "%zz",
  "?",
  "#",
  "é",
  "+",
  "%2B",
  ":",
  "%7E",
  "%20",
  "&",
  "=",
  "|",
  "^",
] as const;
const keys = [
  "watch",
  "watch",
  "watch",
  "fieldSelector",
  "fieldSelector",
  "labelSelector",
  "limit",
  "timeoutSeconds",
  "follow",
  "resourceVersion",
  "%66ieldSelector",
  "wa%74ch",
  "field+Selector",
  "Watch",
  "allowWatchBookmarks",
  "",
] as const;
const values = [
  "",
  "1",
  "0",
  "true",
  "false",
  "FALSE",
  "False",
  "yes",
  "%30",
  "%66alse",
  "fal%73e",
  "fal%C5%BFe",
  "%ff",
  "%",
  "a;b",
  "+1",
  "-5",
  "x",
  "99999999999999999999",
] as const;
const fieldSelectors = [
  "metadata.name=x",
  "metadata.name%3Dx",
  "metadata.name==x",
  "metadata.name!=x",
  "metadata.name=",
  "metadata.name=..",
  "metadata.name=a/b",
  "metadata.name=a%252fb",
  "metadata.name=b,metadata.name=a",
  "metadata.name=%F0%90%80%80,metadata.name=%EF%BF%BF",
  "spec.nodeName=n,metadata.name=x",
  "metadata.name=a%5C,b",
  "metadata.name=a%5C%5Cb",
  "metadata.name=a%5Cb",
  "metadata.name=a,b",
  "metadata.name=a=b",
  "=,metadata.name=x",
  ",,metadata.name=x,",
  "metadata.name=%ff",
  "metadata.name=x%5C",
  "metadata.name+=x",
  "metadata.name=x+y",
  "metadata.name",
  "metadata.name=x;y",
  "metadata.name%21=x",
  "metadata.name=a%0ab",
] as const;
const labelSelectors = [
  "",
  "a",
  "a=b",
  "a==b,c!=d",
  "!a",
  "%21+a",
  "a+in+(b,c)",
  "a+notin+(b)",
  "a in (b)",
  "a%20in%20()",
  "a>1",
  "a<x",
  "a=",
  "a,",
  ",a",
  "a=b=c",
  "a+b",
  "ex.com/a=b",
  "EX.com/a",
  "/a",
  "a/",
  "a=-b",
  "a=b_",
  "in+in+(in,notin)",
  "notin",
  "a+in(b)",
  "a+in+(b,,c)",
  "a+in+(,)",
  "a+in+b",
  "!a=b",
  "(a)",
  "a=(b)",
  "%00",
  "a%00",
  "%ff",
  "a=b,",
  "a+%3E+5",
  "a>1,b<2",
  "a=b%0a",
  `${"a".repeat(64)}=b`,
  `a=${"b".repeat(64)}`,
  "a=b+,+c",
  "a+in+(+b+,+c+)",
  "a%C2%A0=b",
  "!+in",
  "x,y+in+(a,b),!z",
] as const;

function resourcePath(choose: Choose): string {
  const prefix = choose(["/api/v1", "/api/v1", "/apis/apps/v1", "/apis/metrics.k8s.io/v1beta1", "/api/proxy", "/apis/watch/proxy"]);
  const special = choose(["", "", "", "", "/watch", "/proxy"]);
  const namespace = choose(["", "", "/namespaces/a", "/namespaces/a", "/namespaces/kube-system", "/namespaces/status", "/namespaces"]);
  const rest = choose<() => string>([
    () => "",
    () => `/${choose(resources)}`,
    () => `/${choose(resources)}/${choose(names)}`,
    () => `/${choose(resources)}/${choose(names)}/${choose(subresources)}`,
    () => `/${choose(resources)}/${choose(names)}/${choose(subresources)}${choose(tails)}`,
  ])();
  return prefix + special + namespace + rest;
}

function mutate(path: string, random: () => number, choose: Choose): string {
  const at = Math.floor(random() * (path.length + 1));
  const insertion = choose(insertions);
  const removed = random() < 0.5 ? 1 : 0;
  return path.slice(0, at) + insertion + path.slice(at + removed);
}

function queryOf(random: () => number, choose: Choose): string {
  const count = 1 + Math.floor(random() * 3);
  return Array.from({ length: count }, () => parameterOf(choose)).join(choose(["&", "&", "&", "&&", ";"]));
}

/** Selectors side by side with options of their list that may not decode: then the name must not count, or nothing may pass. */
function selectorsOf(choose: Choose): string {
  const labels = choose([`&labelSelector=${choose(labelSelectors)}`, "", ""]).replaceAll(" ", "%20");
  const option = choose([`&limit=${choose(values)}`, `&timeoutSeconds=${choose(values)}`, `&watch=${choose(values)}`, "&watch", "", ""]);
  return `fieldSelector=${choose(fieldSelectors)}${labels}${option}`;
}

function parameterOf(choose: Choose): string {
  const key = choose(keys);
  if (key === "") return choose(["", "a", "=", "&", "watch", "%zz=1", "?", "%3D"]);
  if (key.endsWith("ieldSelector")) return `${key}=${choose(fieldSelectors)}`;
  if (key === "labelSelector") return `${key}=${choose(labelSelectors)}`.replaceAll(" ", "%20");
  return `${key}=${choose(values)}`;
}
