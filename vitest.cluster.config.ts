/** The tests on a real Kubernetes: they need root, Go and some minutes, so `npm test` leaves them out. One file runs at a time. */
import { defineConfig } from "vitest/config";

/** A cluster starts in seconds, but on two cores that other work shares it can take a minute. */
const clusterTimeoutMs = 180_000;

export default defineConfig({
  test: {
    name: "cluster",
    include: ["test/cluster/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: clusterTimeoutMs,
    hookTimeout: clusterTimeoutMs,
  },
});
