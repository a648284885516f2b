/** A Chromium of one's own: a fresh profile, no screen, and no request that a test did not ask for. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { BrowserContext, BrowserContextOptions } from "playwright-core";

export interface Chromium {
  readonly context: BrowserContext;
  close(): Promise<void>;
}

const quiet = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The gateway of these tests has an authority that the profile does not know, hence `ignoreHTTPSErrors`. */
export async function openChromium(
  options: Pick<BrowserContextOptions, "colorScheme" | "viewport" | "javaScriptEnabled"> = {},
): Promise<Chromium> {
  const profile = await mkdtemp(join(tmpdir(), "sallyport-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: quiet,
    ignoreHTTPSErrors: true,
    ...options,
  });
  return {
    context,
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
