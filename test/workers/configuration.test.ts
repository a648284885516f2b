import { expect, test } from "vitest";
import { parseConfiguration } from "#workers/configuration.ts";

const good = {
  GATEWAY_URL: "https://gateway.example.com",
  CLUSTER_DOMAIN: "k8s.example.com",
  CLIENT_ADDRESS_HEADER: "cf-connecting-ip",
  UPLOAD_BUFFER_MIB: "64",
  MAX_STREAMS_PER_USER: "2000",
};

test.each([
  ["as wrangler.toml has them", {}],
  ["with a port, and without what may be empty", { GATEWAY_URL: "https://localhost:8443", CLUSTER_DOMAIN: "", CLIENT_ADDRESS_HEADER: "" }],
])("variables %s are taken", (_name, changes) => {
  const value = { maxWaitingUploadBytes: 64 << 20, streamsPerUser: 2000 };
  expect(parseConfiguration({ ...good, ...changes })).toEqual({ type: "valid", value });
});

test.each([
  ["GATEWAY_URL", "http://gateway.example.com"],
  ["GATEWAY_URL", "gateway.example.com"],
  ["GATEWAY_URL", "https://gateway.example.com/k"],
  ["GATEWAY_URL", "https://user@gateway.example.com"],
  ["GATEWAY_URL", ""],
  ["CLUSTER_DOMAIN", ".example.com"],
  ["CLUSTER_DOMAIN", "K8S.example.com"],
  ["CLUSTER_DOMAIN", "https://k8s.example.com"],
  ["CLIENT_ADDRESS_HEADER", "X-Forwarded-For:"],
  ["CLIENT_ADDRESS_HEADER", "authorization"],
  ["UPLOAD_BUFFER_MIB", ""],
  ["UPLOAD_BUFFER_MIB", "0"],
  ["UPLOAD_BUFFER_MIB", "64 MiB"],
  ["UPLOAD_BUFFER_MIB", "1e3"],
  ["MAX_STREAMS_PER_USER", "-1"],
  ["MAX_STREAMS_PER_USER", "NaN"],
])("%s may not be %j", (name, text) => {
  expect(parseConfiguration({ ...good, [name]: text })).toEqual({
    type: "invalid",
    problems: [expect.stringMatching(new RegExp(`^${name} must be .+`))],
  });
});

test("all that is wrong is said at once", () => {
  expect(parseConfiguration({ GATEWAY_URL: "x" })).toEqual({
    type: "invalid",
    problems: [
      expect.stringMatching(/^GATEWAY_URL must be /),
      ...["CLUSTER_DOMAIN", "CLIENT_ADDRESS_HEADER", "UPLOAD_BUFFER_MIB", "MAX_STREAMS_PER_USER"].map((name) =>
        expect.stringMatching(new RegExp(`^${name} is not set: it must be `)),
      ),
    ],
  });
});
