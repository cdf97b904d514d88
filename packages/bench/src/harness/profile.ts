/**
 * Where the time of a contestant goes: by who wrote the code, and by function.
 */
import { type Profiler, Session } from "node:inspector/promises"
import type { Run } from "./subject.ts"

export interface Profile {
  /** Shares of the time in which the process was not idle. */
  readonly parts: Readonly<Record<string, number>>
  /** The functions that took most of it themselves. */
  readonly functions: ReadonlyArray<{ readonly name: string; readonly part: string; readonly share: number }>
}

const parts: ReadonlyArray<readonly [part: string, url: RegExp]> = [
  ["@poolkit/pool", /\/packages\/pool\//],
  ["@poolkit/http", /\/packages\/http\//],
  ["the benchmark", /\/packages\/bench\//],
  ["effect", /\/node_modules\/(effect|@effect\/[^/]+)\//],
  ["undici", /\/node_modules\/undici\//]
]

const partOf = ({ functionName, url }: Profiler.ProfileNode["callFrame"]): string =>
  functionName === "(garbage collector)"
    ? "garbage collection"
    : (parts.find(([, pattern]) => pattern.test(url))?.[0] ?? "node and the system")

/** Microseconds. */
const interval = 200
const named = 6

export const profile = async (run: Run, operations: number): Promise<Profile> => {
  const session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval })
  await session.post("Profiler.start")
  await run(operations)
  const taken = await session.post("Profiler.stop")
  session.disconnect()
  return digest(taken.profile)
}

const digest = ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Profile => {
  const frames = new Map(nodes.map(({ callFrame, id }) => [id, callFrame]))
  const byPart = new Map<string, number>()
  const byFunction = new Map<string, { readonly name: string; readonly part: string; time: number }>()
  let total = 0
  samples.forEach((id, index) => {
    const frame = frames.get(id)!
    // The inspector itself has some.
    if (frame.functionName === "(idle)" || frame.url === "node:inspector") return
    const part = partOf(frame)
    const time = timeDeltas[index] ?? 0
    total += time
    byPart.set(part, (byPart.get(part) ?? 0) + time)
    if (frame.functionName.startsWith("(")) return
    const key = `${frame.functionName} ${frame.url}:${frame.lineNumber}`
    const known = byFunction.get(key)
    if (known !== undefined) known.time += time
    else byFunction.set(key, { name: frame.functionName || "(anonymous)", part, time })
  })
  const share = (time: number) => Math.round((time / total) * 1000) / 1000
  return {
    parts: Object.fromEntries(
      [...byPart].toSorted(([, a], [, b]) => b - a).map(([part, time]) => [part, share(time)] as const)
    ),
    functions: [...byFunction.values()]
      .toSorted((a, b) => b.time - a.time)
      .slice(0, named)
      .map(({ name, part, time }) => ({ name, part, share: share(time) }))
  }
}
