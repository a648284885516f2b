/** A flow of datagrams ends when nobody uses it and when its target has moved on, and says what it lost. */
import type { Socket } from "node:dgram";
import { EventEmitter } from "node:events";
import { describe, expect, test } from "vitest";
import { DatagramBridge } from "#agent/requests/datagram-bridge.ts";
import type { StreamListener, TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import { flowCheckMs, flowIdleMs, maxQueuedDatagrams } from "#core/tunnel/limits.ts";
import { ManualClock } from "../manual-clock.ts";

/** A socket that remembers what it sent. */
class ScriptedSocket extends EventEmitter {
  readonly sent: string[] = [];
  isClosed = false;
  waiting = 0;
  failure: Error | null = null;

  send(payload: Uint8Array, done: (error: Error | null) => void): void {
    this.sent.push(Buffer.from(payload).toString());
    done(this.failure);
  }

  getSendQueueCount(): number {
    return this.waiting;
  }

  close(): void {
    this.isClosed = true;
  }
}

function stage(isCurrent: () => Promise<boolean> = async () => true) {
  const clock = new ManualClock();
  const socket = new ScriptedSocket();
  const said: string[] = [];
  let listener: StreamListener | undefined;
  const stream = {
    droppedDatagrams: 0,
    listen: (given: StreamListener) => {
      listener = given;
    },
    sendDatagram: (payload: Uint8Array) => said.push(`datagram ${Buffer.from(payload).toString()}`),
    end: (code: number, reason: string) => said.push(`end ${code} ${reason}`),
    reset: (code: string) => said.push(`reset ${code}`),
  } as unknown as TunnelStream; // what the bridge uses of it
  const ended = Promise.withResolvers<{ readonly reason: string; readonly annotations: object | undefined }>();
  const bridge = new DatagramBridge({
    stream,
    socket: socket as unknown as Socket, // what the bridge uses of it
    clock,
    isCurrent,
    onEnd: (reason, annotations) => ended.resolve({ reason, annotations }),
  });
  bridge.start();
  const fromUser = (text: string): void => listener?.onDatagram?.(Buffer.from(text), () => undefined);
  return { clock, socket, said, fromUser, bridge, ended: ended.promise };
}

describe("a flow of datagrams", () => {
  test("is over when there was none for a while, and not before", async () => {
    const { clock, socket, said, fromUser, ended } = stage();
    clock.advance(flowIdleMs - 1);
    fromUser("a");
    clock.advance(flowIdleMs - 1);
    socket.emit("message", Buffer.from("b"));
    clock.advance(flowIdleMs - 1);
    expect([said, socket.isClosed]).toEqual([["datagram b"], false]);
    clock.advance(1);
    expect(await ended).toEqual({
      reason: "idle",
      annotations: { "datagrams-received": 1, "datagrams-sent": 1, "datagrams-dropped": 0 },
    });
    expect([said.at(-1), socket.isClosed]).toEqual(["end 1000 idle", true]);
  });

  test("ends once its target is no longer there, or cannot be looked at", async () => {
    for (const isCurrent of [async () => false, async () => Promise.reject(new Error("no apiserver"))]) {
      const { clock, socket, said, fromUser, ended } = stage(isCurrent);
      fromUser("a");
      clock.advance(flowCheckMs);
      fromUser("b");
      expect(await ended).toMatchObject({ reason: "the target is no longer there" });
      fromUser("c");
      expect([said, socket.sent, socket.isClosed]).toEqual([["end 1000 the target is no longer there"], ["a", "b"], true]);
    }
  });

  test("looks at its target now and then while it is used, and goes on while it is there", () => {
    let looks = 0;
    const { clock, fromUser, said } = stage(async () => {
      looks += 1;
      return true;
    });
    for (let second = 0; second < 20; second++) {
      fromUser("x");
      clock.advance(1_000);
    }
    expect([looks, said]).toEqual([3, []]);
  });

  test("counts what could not be sent, and says it at its end", async () => {
    const { clock, socket, said, fromUser, ended } = stage();
    socket.waiting = maxQueuedDatagrams;
    fromUser("a");
    socket.waiting = 0;
    socket.failure = new Error("EMSGSIZE");
    fromUser("b");
    clock.advance(flowIdleMs);
    expect(await ended).toMatchObject({ annotations: { "datagrams-received": 2, "datagrams-dropped": 2 } });
    expect([socket.sent, said]).toEqual([["b"], ["end 1000 idle; 2 datagrams dropped"]]);
  });

  test("ends with its credential, with that code and no other word", async () => {
    const { bridge, said, socket, ended } = stage();
    bridge.fail("EXPIRED", "the credential has ended");
    socket.emit("error", Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    expect(await ended).toMatchObject({ reason: "EXPIRED: the credential has ended" });
    expect([said, socket.isClosed]).toEqual([["reset EXPIRED"], true]);
  });
});
