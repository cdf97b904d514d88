/** Redis's errors and Node's in words that say what to look at. */

const advice: ReadonlyArray<readonly [RegExp, string]> = [
  [/ECONNREFUSED/, "nothing listens there; check host, port and that Redis runs"],
  [/ENOTFOUND|EAI_AGAIN/, "the host name was not resolved; check its spelling"],
  [/EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|timeout|no answer/i, "check address and firewall, and that it is a Redis"],
  [/ECONNRESET|EPIPE|closed unexpectedly/, "it hung up; check that it is a Redis, and whether it wants TLS (rediss:)"],
  [/WRONGPASS/, "the user name or the password is wrong"],
  [/NOAUTH/, "Redis wants a password"],
  [
    /NOPERM/,
    "the user may not do this; it needs EVALSHA, SCRIPT LOAD, HSET, HGETALL, HDEL, PEXPIRE, TIME, INFO, PUBLISH"
  ],
  [/WRONGTYPE/, "the key holds something else; choose another key or prefix, or remove it"],
  [/READONLY/, "this Redis is a replica; connect to the primary"],
  [/OOM/, "Redis is out of memory"]
]

export const explain = (cause: unknown): string => {
  const text = messageOf(cause)
  const hint = advice.find(([pattern]) => pattern.test(text))?.[1]
  return hint === undefined ? text : `${hint} (${text})`
}

const messageOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  const code = "code" in cause ? String(cause.code) : ""
  // A host with several addresses fails with one error for each.
  if (cause.message === "" && cause instanceof AggregateError) return cause.errors.map(messageOf).join(", ")
  return cause.message.includes(code) ? cause.message : `${code} ${cause.message}`
}
