import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeProtobuf } from "#sandbox/server/protobuf.ts";

/** One field of a message: a number as a varint, or bytes. */
function field(number: number, value: Buffer | number | string): Buffer {
  if (typeof value === "number") return Buffer.concat([varint(BigInt(number << 3)), varint(BigInt.asUintN(64, BigInt(value)))]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(BigInt((number << 3) | 2)), varint(BigInt(bytes.length)), bytes]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return Buffer.from([...bytes, Number(rest)]);
}

function message(...fields: readonly Buffer[]): Buffer {
  return Buffer.concat(fields);
}

function envelope(apiVersion: string, kind: string, raw: Buffer): Buffer {
  return message(Buffer.from("k8s\0"), field(1, message(field(1, apiVersion), field(2, kind))), field(2, raw));
}

describe("protobuf bodies", () => {
  it("reads a ConfigMap with its maps of texts and bytes", () => {
    const metadata = message(field(1, "cm"), field(2, ""), field(8, message()), field(11, message(field(1, "app"), field(2, "x"))));
    const raw = message(
      field(1, metadata),
      field(2, message(field(1, "a"), field(2, "b"))),
      field(3, message(field(1, "bin"), field(2, Buffer.from([1, 2])))),
    );
    expect(decodeProtobuf(envelope("v1", "ConfigMap", raw))).toEqual({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "cm", labels: { app: "x" } },
      data: { a: "b" },
      binaryData: { bin: "AQI=" },
    });
  });

  it("keeps the zero of a pointer and leaves out the zero of a plain field", () => {
    const raw = message(field(2, message(field(1, 0), field(5, 0), field(7, 0))));
    expect(decodeProtobuf(envelope("apps/v1", "Deployment", raw))).toMatchObject({ spec: { replicas: 0 } });
    expect(decodeProtobuf(envelope("apps/v1", "Deployment", raw))?.["spec"]).toEqual({ replicas: 0 });
  });

  it("reads numbers or names, quantities, negative numbers, times, and fields of embedded messages", () => {
    const port = message(field(3, 80), field(4, message(field(1, 1), field(2, 0), field(3, "http"))));
    const service = decodeProtobuf(envelope("v1", "Service", message(field(2, message(field(1, port))))));
    expect(service).toMatchObject({ spec: { ports: [{ port: 80, targetPort: "http" }] } });
    const limits = message(field(1, message(field(1, "cpu"), field(2, message(field(1, "100m"))))));
    const probe = message(field(1, message(field(2, message(field(1, "/healthz"))))));
    const container = message(field(1, "a"), field(8, limits), field(10, probe));
    const pod = decodeProtobuf(envelope("v1", "Pod", message(field(2, message(field(2, container), field(25, -1))))));
    expect(pod).toMatchObject({
      spec: {
        containers: [{ name: "a", resources: { limits: { cpu: "100m" } }, livenessProbe: { httpGet: { path: "/healthz" } } }],
        priority: -1,
      },
    });
    const metadata = message(field(8, message(field(1, 1_700_000_000))));
    expect(decodeProtobuf(envelope("v1", "Pod", message(field(1, metadata))))).toMatchObject({
      metadata: { creationTimestamp: "2023-11-14T22:13:20Z" },
    });
  });

  it("reads a review's extra, a map of lists", () => {
    const extra = message(field(1, "scope"), field(2, message(field(1, "a"), field(1, "b"))));
    const raw = message(field(2, message(field(3, "lee"), field(5, extra))));
    expect(decodeProtobuf(envelope("authorization.k8s.io/v1", "SubjectAccessReview", raw))).toMatchObject({
      spec: { user: "lee", extra: { scope: ["a", "b"] } },
    });
  });

  it("answers any bytes with an object or undefined, and never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom("Pod", "Deployment", "Secret", "Nope"), (bytes, kind) => {
        for (const body of [Buffer.from(bytes), Buffer.concat([Buffer.from("k8s\0"), bytes]), envelope("v1", kind, Buffer.from(bytes))])
          decodeProtobuf(body);
      }),
      { numRuns: 2000 },
    );
  });
});
