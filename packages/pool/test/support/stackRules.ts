/**
 * What must hold of any stack whenever nothing moves.
 */
import type { LimitStats } from "../../src/ConnectionLimit.ts"
import type { PoolStats } from "../../src/ConnectionPool.ts"

export interface Snapshot {
  /** The pools that connect. */
  readonly parts: ReadonlyArray<{ readonly kind: string; readonly stats: PoolStats }>
  /** What the stack says of all of them. */
  readonly whole: PoolStats
  /** Connections that the peer has or is about to have. */
  readonly seen: number
  readonly limit: LimitStats | undefined
  readonly negotiates: boolean
  readonly validates: boolean
}

type Part = Snapshot["parts"][number]

/** Connections that a part answers for, those on their way out included. */
const held = ({ stats }: Pick<Part, "stats">): number => stats.idle + stats.used + stats.connecting + stats.closing

const ofPart = ({ kind, stats }: Part, validates: boolean): ReadonlyArray<string | false> => {
  const size = stats.idle + stats.used + stats.connecting
  const isCache = kind === "cache"
  return [
    size > stats.maxSize && `${kind}: ${size} connections of at most ${stats.maxSize}`,
    isCache && size + stats.closing > stats.maxSize && `${kind}: too many with those that close`,
    // A validation may be what they wait for.
    isCache && !validates && stats.pending > 0 && stats.idle > 0 && `${kind}: callers wait beside an idle connection`
  ]
}

const ofLimit = ({ max, used, waiting }: LimitStats, parts: ReadonlyArray<Part>): ReadonlyArray<string | false> => {
  const sum = parts.reduce((total, part) => total + held(part), 0)
  const closes = parts.some(({ stats }) => stats.closing > 0)
  // Whoever has callers in line keeps what is idle for them.
  const spare = parts.some(({ stats }) => stats.idle > 0 && stats.pending === 0)
  return [
    used > max && `${used} slots taken of ${max}`,
    used !== sum && `${used} slots taken for ${sum} connections`,
    waiting > 0 && used < max && "a pool waits for a slot beside a free one",
    waiting > 0 && spare && !closes && "a pool waits for a slot beside another's idle connection"
  ]
}

/** The rules that are broken. */
export const brokenRules = ({ limit, negotiates, parts, seen, validates, whole }: Snapshot): ReadonlyArray<string> => {
  const sum = parts.reduce((total, part) => total + held(part), 0)
  // An attempt that waits for the probe of another has a slot although the peer does not see it.
  const isSeen = negotiates ? seen <= sum : seen === sum
  const all = [
    ...parts.flatMap((part) => ofPart(part, validates)),
    held({ stats: whole }) !== sum && `the stack counts ${held({ stats: whole })} connections, its pools ${sum}`,
    !isSeen && `the peer sees ${seen} connections, the pools ${sum}`,
    ...(limit === undefined ? [] : ofLimit(limit, parts))
  ]
  return all.filter((wrong) => wrong !== false)
}
