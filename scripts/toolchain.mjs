/**
 * Makes a fresh clone work with nothing but Node 20 and npm: `npm test` and `npm run demo` start here. It installs the locked packages
 * when they are missing or the lock has changed, then runs the given command under the pinned Node of the npm package `node`.
 *
 *   node scripts/toolchain.mjs COMMAND [ARGUMENT…]
 *
 * What must stay true: plain JavaScript for Node 20 with no package; no network once installed; two that start at once install once;
 * the command keeps its terminal, its standard input, its signals and its exit code; all talk goes to standard error.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const packages = path.join(root, "node_modules");
const stampPath = path.join(packages, ".sallyport-stamp");
const mutexFolder = path.join(root, ".sallyport");
const mutexPath = path.join(mutexFolder, "install.lock");
const windows = process.platform === "win32";
const pinnedNode = path.join(packages, "node", "bin", windows ? "node.exe" : "node");
/** How often a waiting process looks whether the other one has finished installing. */
const mutexPollMs = 300;
/** How often the installation says that it is still at work. */
const progressMs = 10_000;
const forwardedSignals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

const [command, ...args] = process.argv.slice(2);
if (command === undefined) {
  say("usage: node scripts/toolchain.mjs COMMAND [ARGUMENT…]");
  process.exit(2);
}
const lockDigest = createHash("sha256")
  .update(readFileSync(path.join(root, "package-lock.json")))
  .digest("hex");
if (!isInstalled()) await installOnce();
await runCommand();

function say(line) {
  process.stderr.write(`sallyport: ${line}\n`);
}

function isInstalled() {
  if (!existsSync(pinnedNode)) return false;
  if (readIfThere(stampPath) === lockDigest) return true;
  if (!matchesLock()) return false;
  writeFileSync(stampPath, lockDigest);
  return true;
}

/** Whether what npm says it installed (its hidden lock file) is what the lock asks for; so an `npm install` by hand is not repeated. */
function matchesLock() {
  const hidden = readIfThere(path.join(packages, ".package-lock.json"));
  if (hidden === undefined) return false;
  const wanted = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(hidden).packages;
  const isRight = (name) => wanted[name]?.version === installed[name].version;
  const isThere = ([name, entry]) => name === "" || entry.optional === true || entry.devOptional === true || name in installed;
  return Object.keys(installed).every(isRight) && Object.entries(wanted).every(isThere);
}

async function installOnce() {
  await takeMutex();
  try {
    // The process that was waited for has usually done the work.
    if (!isInstalled()) await install();
  } finally {
    rmSync(mutexPath, { force: true });
  }
}

async function takeMutex() {
  mkdirSync(mutexFolder, { recursive: true });
  for (let told = false; !tryMutex(); told = true) {
    const owner = Number(readIfThere(mutexPath));
    // An empty file is one whose owner has not yet written its number.
    if (owner > 0 && !isAlive(owner)) rmSync(mutexPath, { force: true });
    else if (!told) say("another process is installing the packages; waiting for it");
    await delay(mutexPollMs);
  }
}

function tryMutex() {
  try {
    writeFileSync(mutexPath, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

async function install() {
  const startedMs = Date.now();
  const seconds = () => `${Math.round((Date.now() - startedMs) / 1000)} s`;
  say("installing the packages with npm ci; this takes half a minute and is done once");
  const ticker = setInterval(() => say(`still installing (${seconds()})`), progressMs);
  const npmCli = process.env.npm_execpath?.endsWith("npm-cli.js") ? process.env.npm_execpath : undefined;
  const npmArgs = ["ci", "--prefer-offline", "--no-audit", "--no-fund"];
  const options = { cwd: root, stdio: ["ignore", "pipe", "pipe"] };
  const npm = npmCli
    ? spawn(process.execPath, [npmCli, ...npmArgs], options)
    : spawn(windows ? "npm.cmd" : "npm", npmArgs, { ...options, shell: windows });
  const output = [];
  npm.stdout.on("data", (chunk) => output.push(chunk));
  npm.stderr.on("data", (chunk) => output.push(chunk));
  const outcome = await settle(npm);
  clearInterval(ticker);
  const succeeded = outcome.type === "exited" && outcome.code === 0;
  if (!succeeded || !existsSync(pinnedNode)) {
    process.stderr.write(Buffer.concat(output));
    rmSync(mutexPath, { force: true });
    if (outcome.type === "failed") say(`npm could not be started: ${outcome.message}`);
    else if (succeeded) say("the npm package `node` brought no program: allow its install script (npm config ignore-scripts) and repeat");
    else say("npm ci failed; its output is above. Check the network and the npm registry that is configured, then repeat");
    finish(succeeded ? { type: "exited", code: 1 } : outcome);
  }
  writeFileSync(stampPath, lockDigest);
  say(`packages installed in ${seconds()}`);
}

async function runCommand() {
  const nodeFolder = path.dirname(pinnedNode);
  const search = [nodeFolder, path.join(packages, ".bin"), process.env.PATH ?? ""].join(path.delimiter);
  // npm sets NODE and npm_node_execpath to the Node that it runs under itself; programs that start Node must find the pinned one.
  const env = { ...process.env, PATH: search, NODE: pinnedNode, npm_node_execpath: pinnedNode };
  const child = spawn(command, args, { stdio: "inherit", env, shell: windows });
  const outcome = await settle(child);
  if (outcome.type === "failed") say(`${command} could not be started: ${outcome.message}`);
  finish(outcome);
}

/** Waits for a child to end and passes on the signals that reach only this process. */
function settle(child) {
  const passOn = (signal) => {
    // Ctrl-C reaches the whole foreground group, so the child has it already; twice would mean "at once" to many programs.
    if (signal === "SIGINT" && process.stdin.isTTY) return;
    child.kill(signal);
  };
  for (const signal of forwardedSignals) process.on(signal, passOn);
  return new Promise((resolve) => {
    const done = (outcome) => {
      for (const signal of forwardedSignals) process.off(signal, passOn);
      resolve(outcome);
    };
    child.on("error", (error) => done({ type: "failed", message: error.message }));
    child.on("close", (code, signal) => done(signal === null ? { type: "exited", code } : { type: "killed", signal }));
  });
}

/** Ends as the child ended: the same exit code, or 128 and the signal's number, as a shell would say it. */
function finish(outcome) {
  switch (outcome.type) {
    case "exited":
      process.exit(outcome.code);
      break;
    case "killed":
      process.exit(128 + (constants.signals[outcome.signal] ?? 0));
      break;
    case "failed":
      process.exit(127);
  }
}

function readIfThere(file) {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}
