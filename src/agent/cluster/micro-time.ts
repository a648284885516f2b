/** A moment as metav1.MicroTime: RFC 3339 with six digits of a second. */
export function toMicroTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}
