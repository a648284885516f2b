import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: ["core", "identity", "agent", "cli", "sandbox"].map((name) => ({
      test: { name, include: [`test/${name}/**/*.test.ts`], environment: "node" },
    })),
  },
});
