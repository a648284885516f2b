/**
 * Keeps package-lock.json installable everywhere. npm records the packages of other platforms (compiled code for macOS, Windows,
 * musl, …) only when the registry in use offers them; a lock written beside a partial mirror then fails `npm ci` on every machine with
 * "Missing: … from lock file". This script adds the missing ones by name and version, and takes out download addresses, so that each
 * machine uses its own registry.
 *
 *   node scripts/lock.mjs           completes package-lock.json in place
 *   node scripts/lock.mjs --check   only says whether something is missing; exit code 1 if so
 */
import { readFileSync, writeFileSync } from "node:fs";

const lockPath = new URL("../package-lock.json", import.meta.url);
const operatingSystems = { android: "android", darwin: "darwin", freebsd: "freebsd", linux: "linux", openharmony: "openharmony" };
const windowsWords = new Set(["win32", "windows"]);
const processors = { 64: "x64", x64: "x64", ia32: "ia32", arm: "arm", arm64: "arm64", ppc64: "ppc64", riscv64: "riscv64", s390x: "s390x" };

const before = readFileSync(lockPath, "utf8");
const lock = JSON.parse(before);
const missing = missingEntries(lock.packages);
const addresses = Object.values(lock.packages).filter((entry) => entry.resolved !== undefined);

if (process.argv.includes("--check")) {
  for (const { path, version } of missing) console.error(`package-lock.json lacks ${path} ${version}`);
  for (const { resolved } of addresses) console.error(`package-lock.json names a download address: ${resolved}`);
  if (missing.length + addresses.length > 0) {
    console.error("run: node scripts/lock.mjs");
    process.exitCode = 1;
  }
} else {
  for (const entry of addresses) delete entry.resolved;
  for (const { path, version, parent } of missing) {
    const flags = parent.dev === true ? { dev: true } : {};
    lock.packages[path] = { version, ...platformOf(path), ...flags, optional: true };
  }
  const sorted = Object.entries(lock.packages).toSorted(([a], [b]) => a.localeCompare(b, "en"));
  lock.packages = Object.fromEntries(sorted);
  const after = `${JSON.stringify(lock, null, 2)}\n`;
  if (after !== before) writeFileSync(lockPath, after);
  console.error(`package-lock.json: ${missing.length} platform packages added, ${addresses.length} addresses removed`);
}

function missingEntries(packages) {
  const found = new Map();
  for (const [path, parent] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
      // Only exact versions: platform packages always pin theirs, and a range could not be completed by name.
      if (/^\d/.test(version) && !isRecorded(packages, path, name, version)) {
        const own = `${path.slice(0, path.lastIndexOf("node_modules/"))}node_modules/${name}`;
        const place = own in packages ? `${path}/node_modules/${name}` : own;
        found.set(place, { path: place, version, parent });
      }
    }
  }
  return [...found.values()];
}

/** Looks a dependency up as Node does: beside the dependent, then folder by folder outwards. */
function isRecorded(packages, from, name, version) {
  let folder = from;
  for (;;) {
    const entry = packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`];
    if (entry !== undefined) return entry.version === version;
    if (folder === "") return false;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1));
  }
}

function platformOf(path) {
  const words = path.slice(path.lastIndexOf("/") + 1).split("-");
  if (words.includes("wasm32")) return { cpu: ["wasm32"] };
  const windows = words.some((word) => windowsWords.has(word)) ? "win32" : undefined;
  const os = windows ?? words.map((word) => operatingSystems[word]).find(Boolean);
  const cpu = words.map((word) => processors[word]).find(Boolean);
  const musl = words.some((word) => word.startsWith("musl"));
  const glibc = words.some((word) => word.startsWith("gnu"));
  if (os === undefined || cpu === undefined) throw new Error(`${path}: its name does not say which platform it is for`);
  return { cpu: [cpu], ...(musl ? { libc: ["musl"] } : glibc ? { libc: ["glibc"] } : {}), os: [os] };
}
