/**
 * What a cluster leaves on the machine, and its removal. The removal works from a cluster's folder alone, so it does not matter whether
 * the test run that made it is still there to ask.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { type NetworkPlan, planNetwork, removeNetwork } from "./network.ts";
import { removeNode } from "./node.ts";
import { killRecorded, startTimeOf } from "./processes.ts";

const folderPrefix = "sallyport-cluster-";

/** What is written down before anything is started. */
interface ClusterRecord {
  readonly ownerPid: number;
  readonly ownerStartTime: string;
  /** Undefined for a control plane alone, which touches no network. */
  readonly network: { readonly slot: number; readonly nodes: number; readonly apiservers: number } | undefined;
}

/** Makes a cluster's folder, and notes in it whose it is and what it will hold. */
export function createClusterFolder(network: NetworkPlan | undefined): string {
  const folder = mkdtempSync(path.join(tmpdir(), folderPrefix));
  const record: ClusterRecord = {
    ownerPid: process.pid,
    ownerStartTime: startTimeOf(process.pid) ?? "",
    network: network && { slot: network.slot, nodes: network.nodes.length, apiservers: network.apiserverAddresses.length },
  };
  writeFileSync(recordFile(folder), JSON.stringify(record));
  return folder;
}

/** Removes a cluster with all its processes, mounts, namespaces and files. Does nothing where another process was faster. */
export async function removeCluster(folder: string): Promise<void> {
  const record = readRecord(folder);
  if (record === undefined) return;
  await killRecorded(folder);
  if (record.network !== undefined) {
    // What is removed has the same names with one IP family and with two.
    const plan = planNetwork(record.network.slot, { ...record.network, dualStack: false });
    for (const node of plan.nodes) await removeNode(folder, node);
    await removeNetwork(plan);
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Removes the clusters whose test run has ended without doing so. Returns how many. */
export async function removeAbandonedClusters(): Promise<number> {
  const folders = readdirSync(tmpdir())
    .filter((name) => name.startsWith(folderPrefix))
    .map((name) => path.join(tmpdir(), name))
    .filter((folder) => isAbandoned(readRecord(folder)));
  for (const folder of folders) await removeCluster(folder);
  return folders.length;
}

function isAbandoned(record: ClusterRecord | undefined): boolean {
  return record !== undefined && startTimeOf(record.ownerPid) !== record.ownerStartTime;
}

function readRecord(folder: string): ClusterRecord | undefined {
  try {
    // Only createClusterFolder writes this file.
    return JSON.parse(readFileSync(recordFile(folder), "utf8")) as ClusterRecord;
  } catch {
    // A folder that is just being made, or just being removed, has no whole record.
    return undefined;
  }
}

function recordFile(folder: string): string {
  return path.join(folder, "cluster.json");
}
