/**
 * One contestant of a case, in a process of its own: opens, warms up, says how
 * many operations a sample has, and takes a sample or a profile whenever it is asked.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Ready, Task } from "./measure.ts"
import { profile } from "./profile.ts"
import { calibrate, sample } from "./sample.ts"
import type { Subject } from "./subject.ts"

const task = JSON.parse(process.argv[2]!) as Task
const { default: subject } = (await import(task.subject)) as { readonly default: Subject }
const chosen = subject.cases.find(({ name }) => name === task.case)
const contestant = chosen?.contestants.find(({ name }) => name === task.contestant)
if (chosen === undefined || contestant === undefined) {
  throw new Error(`${task.subject} has no ${task.contestant} in ${task.case}`)
}

// The scope is never closed: pools of a hundred thousand keys take longer to close than to measure.
const run = await Effect.runPromise(Effect.provideService(contestant.open, Scope.Scope, Scope.makeUnsafe()))
const { leadIn, sampleTime, warmUp } = task.settings
const operations = chosen.operations ?? (await calibrate(run, chosen.batch ?? 1, sampleTime, warmUp))

process.on("message", async (question: "sample" | "profile") => {
  if (leadIn > 0) await run(Math.ceil(operations * leadIn))
  process.send?.(await (question === "profile" ? profile(run, 4 * operations) : sample(run, operations)))
})
process.once("disconnect", () => process.exit())
process.send?.({ operations, setup: contestant.setup } satisfies Ready)
