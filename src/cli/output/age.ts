/** How long ago a moment of RFC 3339 was, for people; without a present, the moment itself. */
export function toAge(moment: string, nowMs: number | undefined): string {
  const seconds = nowMs === undefined ? Number.NaN : Math.floor((nowMs - Date.parse(moment)) / 1000);
  if (Number.isNaN(seconds)) return moment;
  if (seconds < 120) return `${Math.max(0, seconds)}s ago`;
  if (seconds < 120 * 60) return `${Math.floor(seconds / 60)}m ago`;
  return seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)}h ago` : `${Math.floor(seconds / 86_400)}d ago`;
}
