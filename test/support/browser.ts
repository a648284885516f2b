/** A browser without a screen: cookies by host, forms, redirects and refreshing pages; each step is one request, so that attacks can come between. */
import { request } from "node:https";

export interface BrowserPage {
  readonly url: URL;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly cookies: readonly string[];
  readonly text: string;
}

export interface Visit {
  readonly form?: URLSearchParams;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body?: string;
}

export class Browser {
  /** By host and port: cookies know no port, but none of these tests wants them shared. */
  readonly #jars = new Map<string, Map<string, string>>();
  readonly #ca: string;
  readonly #addresses: Readonly<Record<string, string>>;

  /** @param addresses where hosts are that no resolver knows */
  constructor(ca: string, addresses: Readonly<Record<string, string>> = {}) {
    this.#ca = ca;
    this.#addresses = addresses;
  }

  /** The cookies of a URL's host, which a test may change. */
  jar(url: string | URL): Map<string, string> {
    const { host } = new URL(url);
    const jar = this.#jars.get(host) ?? new Map<string, string>();
    this.#jars.set(host, jar);
    return jar;
  }

  /** One request, as the page before would send it; a form of another page says so by its headers. */
  async visit(address: string | URL, visit: Visit = {}): Promise<BrowserPage> {
    const url = new URL(address);
    const body = visit.form?.toString() ?? visit.body;
    const jar = this.jar(url);
    const headers = {
      accept: "text/html",
      ...(jar.size > 0 && { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") }),
      ...(body !== undefined && {
        "content-type": "application/x-www-form-urlencoded",
        origin: url.origin,
        "sec-fetch-site": "same-origin",
      }),
      ...visit.headers,
    };
    const sent = Object.fromEntries(Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined));
    const page = await this.#send(url, visit.method ?? (body === undefined ? "GET" : "POST"), sent, body);
    for (const line of page.cookies) keepCookie(line, jar);
    return page;
  }

  /** Follows redirects and refreshing pages, and fills in the issuer's forms as `person`, until a page asks for nothing more. */
  async follow(first: BrowserPage, person: string, until: (next: URL) => boolean = () => false): Promise<BrowserPage> {
    let page = first;
    for (let step = 0; step < 40; step++) {
      const next = nextOf(page);
      if (next !== undefined) {
        if (until(next)) return page;
        page = await this.visit(next);
        continue;
      }
      const form = issuerForm(page, person);
      if (form === undefined) return page;
      page = await this.visit(form.action, { form: form.fields });
    }
    throw new Error("the browser was sent around without end");
  }

  #send(url: URL, method: string, headers: Readonly<Record<string, string>>, body: string | undefined): Promise<BrowserPage> {
    return new Promise((resolve, reject) => {
      const options = { method, headers: { host: url.host, ...headers }, ca: this.#ca, servername: url.hostname };
      const place = { host: this.#addresses[url.hostname] ?? url.hostname, port: url.port, path: url.pathname + url.search };
      const sent = request({ ...options, ...place }, (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            url,
            status: response.statusCode ?? 0,
            headers: response.headers,
            cookies: response.headers["set-cookie"] ?? [],
            text: Buffer.concat(parts).toString("utf8"),
          }),
        );
      });
      sent.on("error", reject);
      sent.end(body);
    });
  }
}

/** Where a page sends the browser: by redirect, or by refreshing. */
export function nextOf(page: BrowserPage): URL | undefined {
  const { location } = page.headers;
  if (typeof location === "string") return new URL(location, page.url);
  const refresh = /<meta http-equiv="refresh" content="0; url=([^"]+)"/.exec(page.text)?.[1];
  return refresh === undefined ? undefined : new URL(unescapeHtml(refresh), page.url);
}

/** A form of one of the gateway's pages: the one whose HTML matches. */
export function formOf(page: BrowserPage, pattern: RegExp): { readonly action: URL; readonly fields: URLSearchParams } {
  const form = page.text.match(/<form[\s\S]*?<\/form>/g)?.find((text) => pattern.test(text));
  if (form === undefined) throw new Error(`no form matches ${String(pattern)} in:\n${page.text}`);
  return { action: new URL(attribute(form, "action"), page.url), fields: fieldsOf(form) };
}

function issuerForm(page: BrowserPage, person: string): { readonly action: URL; readonly fields: URLSearchParams } | undefined {
  if (!/\/interaction\/|\/session\/end/.test(page.url.pathname)) return undefined;
  const form = page.text.match(/<form[\s\S]*?<\/form>/g)?.[0];
  if (form === undefined) return undefined;
  const fields = fieldsOf(form);
  if (fields.has("login")) fields.set("login", person);
  if (fields.has("password")) fields.set("password", "any");
  if (form.includes("op.logoutForm")) fields.set("logout", "yes");
  return { action: new URL(attribute(form, "action"), page.url), fields };
}

function fieldsOf(form: string): URLSearchParams {
  const inputs = [...form.matchAll(/<input[^>]*>/g)].map(([input]) => [attribute(input, "name"), attribute(input, "value")] as const);
  return new URLSearchParams(inputs.filter(([name]) => name !== "").map(([name, value]): [string, string] => [name, value]));
}

function attribute(tag: string, name: string): string {
  return unescapeHtml(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

function unescapeHtml(text: string): string {
  return text.replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code))).replaceAll("&amp;", "&");
}

function keepCookie(line: string, jar: Map<string, string>): void {
  const [pair = ""] = line.split(";");
  const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
  if (value === "" || /max-age=0/i.test(line)) jar.delete(name);
  else jar.set(name, value);
}
