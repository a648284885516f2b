/** What a WebSocket close frame may hold (RFC 6455 sections 5.5.1 and 7.4): runtimes throw at anything else, and the other side would never hear of it. */

/** A control frame has 125 bytes, and the code takes two. */
export const maxCloseReasonBytes = 123;

/** Whether a close frame may carry this code: 1004 to 1006 and 1015 stand for what came without one. */
export function isSendableCloseCode(code: number): boolean {
  return (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) || (code >= 3000 && code <= 4999);
}

/** A reason that fits, cut between characters. */
export function cutCloseReason(reason: string): string {
  if (reason.length * 3 <= maxCloseReasonBytes) return reason;
  const encoder = new TextEncoder();
  let cut = "";
  let bytes = 0;
  for (const character of reason) {
    bytes += encoder.encode(character).length;
    if (bytes > maxCloseReasonBytes) break;
    cut += character;
  }
  return cut;
}
