/** The header Retry-After in milliseconds: seconds as the apiserver writes them; the HTTP date that other proxies may write is left alone. */
export function readRetryAfter(headers: readonly (readonly [string, string])[]): number | undefined {
  const value = headers.find(([name]) => name.toLowerCase() === "retry-after")?.[1].trim() ?? "";
  return /^\d{1,6}$/.test(value) ? Number(value) * 1000 : undefined;
}
