/**
 * Measures the contestants of a case in turns: A B C, B C A, C A B, …
 *
 * Times on a shared machine mean little, ratios within one round mean
 * something; and whoever came first in every round would always find the caches
 * of the one before. Each contestant has a process to itself, for compiled code
 * and garbage are shared within one: who else took part would decide what is found.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { ask, start } from "./children.ts"
import type { Profile } from "./profile.ts"
import type { Case, Figures } from "./subject.ts"

export interface Settings {
  readonly rounds: number
  /** What one sample should take, in milliseconds. */
  readonly sampleTime: number
  /** CPU time before the first sample, in milliseconds. */
  readonly warmUp: number
  /** The share of a sample that goes before each one, unmeasured. */
  readonly leadIn: number
  /**
   * How many processes the rounds of a contestant are spread over. Compilers
   * decide early, and differently each time: a process that was unlucky stays
   * slow, whoever it works for.
   */
  readonly processes: number
}

export interface Measured {
  readonly contestant: string
  readonly setup?: string | undefined
  readonly operations: number
  readonly rounds: ReadonlyArray<Figures>
  readonly profile?: Profile | undefined
}

/** What a contestant's process is told. */
export interface Task {
  /** URL of the subject's module. */
  readonly subject: string
  readonly case: string
  readonly contestant: string
  readonly settings: Settings
}

/** What it answers once it is warm. */
export interface Ready {
  readonly operations: number
  readonly setup: string | undefined
}

interface Entrant extends Ready {
  readonly contestant: string
  readonly child: ChildProcess
  readonly rounds: Array<Figures>
  profile?: Profile
}

const runner = new URL("./runContestant.ts", import.meta.url)

const enter = (task: Task): Effect.Effect<Entrant, Error, Scope> =>
  Effect.map(start<Ready>(runner, [JSON.stringify(task)]), ({ child, message }) => ({
    ...message,
    contestant: task.contestant,
    child,
    rounds: []
  }))

const takeSample = ({ child, rounds }: Entrant) =>
  Effect.map(ask<Figures>(child, "sample"), (figures) => void rounds.push(figures))

const takeProfile = (entrant: Entrant) =>
  Effect.map(ask<Profile>(entrant.child, "profile"), (profile) => {
    entrant.profile = profile
  })

/** Measures some contestants of a case, and shows where the time goes of some of them. Everybody is warm before the first round. */
export const measure = (
  subject: URL,
  { name, together = false }: Case,
  contestants: ReadonlyArray<string>,
  settings: Settings,
  profiled: ReadonlyArray<string> = []
): Effect.Effect<ReadonlyArray<Measured>, Error> => {
  const { processes } = settings
  const firstRound = (nth: number) => Math.floor((nth * settings.rounds) / processes)
  const shares = Array.from({ length: processes }, (_, nth) => [firstRound(nth), firstRound(nth + 1)] as const)
  const measureShare = ([from, to]: readonly [number, number]) =>
    Effect.gen(function* () {
      const entrants: Array<Entrant> = []
      for (const contestant of contestants) {
        entrants.push(yield* enter({ subject: subject.href, case: name, contestant, settings }))
      }
      for (let round = from; round < to; round++) {
        const turns = entrants.map((_, place) => entrants[(round + place) % entrants.length]!)
        yield* Effect.forEach(turns, takeSample, { concurrency: together ? "unbounded" : 1, discard: true })
      }
      if (to === settings.rounds) {
        const chosen = entrants.filter(({ contestant }) => profiled.includes(contestant))
        yield* Effect.forEach(chosen, takeProfile, { discard: true })
      }
      return entrants
    }).pipe(Effect.scoped)
  return Effect.map(Effect.forEach(shares, measureShare), (groups) =>
    groups[0]!.map(({ contestant, operations, setup }, index) => ({
      contestant,
      setup,
      operations,
      rounds: groups.flatMap((entrants) => entrants[index]!.rounds),
      profile: groups.at(-1)![index]!.profile
    }))
  )
}
