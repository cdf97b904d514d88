/**
 * What a run is doing, while it does it.
 *
 * @since 0.1.0
 */
import type { PoolStats } from "@poolkit/pool/ConnectionPool"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Tally } from "./tally.ts"

/**
 * Where progress is written: stderr, so that stdout holds nothing but the
 * table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Screen {
  readonly isTTY: boolean
  readonly columns: number
  readonly write: (text: string) => unknown
}

/**
 * What is shown of a pool.
 *
 * @category models
 * @since 0.1.0
 */
export type Levels = Pick<PoolStats, "idle" | "used" | "connecting" | "pending">

/**
 * An origin to watch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source {
  readonly name: string
  readonly tally: Tally
  readonly stats: Effect.Effect<Levels>
}

/**
 * When a run is over.
 *
 * @category models
 * @since 0.1.0
 */
export interface Goal {
  /** `Infinity` where only time counts. */
  readonly requests: number
  readonly duration?: Duration.Duration | undefined
}

const eraseLine = "\r\x1b[2K"

/**
 * Shows progress until the scope closes: on a terminal one line that changes,
 * elsewhere a line per second.
 *
 * @category running
 * @since 0.1.0
 */
export const show = (
  sources: ReadonlyArray<Source>,
  goal: Goal,
  screen: Screen
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const rate = yield* makeRate
    const started = yield* Clock.currentTimeMillis
    const update = Effect.gen(function* () {
      const done = sources.reduce((sum, source) => sum + source.tally.requests, 0)
      const perSecond = yield* rate(done)
      const stats = yield* Effect.forEach(sources, (source) => source.stats)
      const elapsed = (yield* Clock.currentTimeMillis) - started
      const state = { sources, stats, done, goal, perSecond, elapsed }
      const text = full(state)
      if (!screen.isTTY) return screen.write(`${text}\n`)
      const fitting = text.length < screen.columns ? text : compact(state)
      screen.write(eraseLine + cut(fitting, screen.columns))
    })
    if (screen.isTTY) {
      yield* Effect.addFinalizer(() => Effect.sync(() => screen.write(eraseLine)))
    }
    const interval = screen.isTTY ? Duration.millis(100) : Duration.seconds(1)
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(interval), update)))
  })

/** Requests per second over the last second or so, because a stall should show. */
const makeRate = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const samples = [{ at: now(), done: 0 }]
  return (done: number) =>
    Effect.sync(() => {
      const at = now()
      samples.push({ at, done })
      while (samples.length > 2 && samples[1]!.at <= at - 1000) samples.shift()
      const first = samples[0]!
      return Math.round(((done - first.done) * 1000) / Math.max(1, at - first.at))
    })
})

interface State {
  readonly sources: ReadonlyArray<Source>
  readonly stats: ReadonlyArray<Levels>
  readonly done: number
  readonly goal: Goal
  readonly perSecond: number
  readonly elapsed: number
}

/** How much is done of what there is to do: requests, seconds or both. */
const doneOf = ({ done, elapsed, goal }: State, unit: string): string => {
  const requests = (Number.isFinite(goal.requests) ? `${count(done)}/${count(goal.requests)}` : count(done)) + unit
  if (goal.duration === undefined) return requests
  return `${requests} ${Math.floor(elapsed / 1000)}/${Math.ceil(Duration.toSeconds(goal.duration))}s`
}

const full = (state: State): string =>
  [
    doneOf(state, " requests"),
    `${count(state.perSecond)}/s`,
    ...state.sources.map(({ name }, i) => {
      const { connecting, idle, pending, used } = state.stats[i]!
      return `${name}: ${idle} idle, ${used} used, ${connecting} connecting, ${pending} waiting`
    })
  ].join(" | ")

/** Two origins of one host fit 80 columns. */
const compact = (state: State): string => {
  const { perSecond, sources, stats } = state
  const urls = sources.map(({ name }) => new URL(name))
  const oneHost = new Set(urls.map((url) => url.hostname)).size === 1
  return [
    `${doneOf(state, "")} ${count(perSecond)}/s`,
    "idle/used/conn/wait",
    ...urls.map((url, i) => {
      const { connecting, idle, pending, used } = stats[i]!
      const label = oneHost && url.port !== "" ? `:${url.port}` : url.host
      return `${label} ${idle}/${used}/${connecting}/${pending}`
    })
  ].join("  ")
}

const count = (value: number): string => value.toLocaleString("en")

/** A line that wraps could not be erased. */
const cut = (text: string, columns: number): string => (text.length < columns ? text : `${text.slice(0, columns - 2)}…`)
