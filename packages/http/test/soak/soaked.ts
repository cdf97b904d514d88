/** Runs the soak in a process of its own and judges it. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { appendFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Outcome } from "./main.ts"
import type { Probe } from "./probes.ts"

/** `90`, `90s`, `30m` or `2h`, in seconds. */
export const parseSeconds = (text: string): number => {
  const [, count, unit = "s"] = /^(\d+)([smh])?$/.exec(text) ?? []
  if (count === undefined) throw new RangeError(`POOLKIT_SOAK must be like 90s, 30m or 2h, got ${JSON.stringify(text)}`)
  return Number(count) * { s: 1, m: 60, h: 3_600 }[unit as "s" | "m" | "h"]
}

const start = (seconds: number, seed: number) =>
  Effect.callback<{ readonly code: number | string; readonly stdout: string; readonly stderr: string }>((resume) => {
    const child = execFile(
      process.execPath,
      ["--expose-gc", fileURLToPath(new URL("./main.ts", import.meta.url)), String(seconds), String(seed)],
      { timeout: 1_000 * seconds + 150_000 },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error === null ? 0 : (error.signal ?? error.code ?? "unknown"), stdout, stderr }))
    )
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

const count = (n: number): string => n.toLocaleString("en", { maximumFractionDigits: 1 })

/** Below this the heap has not warmed up. */
const enoughForSlope = 60

/** Loads the pools for so long while everything goes wrong that can. */
export const soak = (seconds: number, seed: number) =>
  Effect.gen(function* () {
    const { code, stderr, stdout } = yield* start(seconds, seed)
    // nodejs/node#64841: churn of HTTP/2 corrupts node's memory. A finding about node, to be told from one about us.
    assert.notInclude([139, "SIGSEGV", "SIGABRT"], code, `node crashed: ${stderr}`)
    assert.strictEqual(code, 0, `POOLKIT_SEED=${seed}: ${stdout}${stderr}`)
    const outcome: Outcome = JSON.parse(stdout)
    tell(outcome, seed)
    judge(outcome)
  })

/** Megabytes that happen to be in use when one looks, which weighs the more the shorter one does. */
const chance = 0.5

/** For which the heap is watched. */
const minutes = (seconds: number) => (0.75 * seconds) / 60

const judge = ({ audit, code, heap, leaks, probes, requests, seconds, tallies, wrong }: Outcome): void => {
  assert.deepStrictEqual(wrong, [])
  assert.deepStrictEqual({ invalid: audit.invalid, repeated: audit.repeated }, { invalid: [], repeated: [] })
  for (const [site, { abandoned, answered, failed, sent }] of Object.entries(tallies)) {
    assert.strictEqual(answered + failed + abandoned, sent, `every request of ${site} settles`)
    if (site.startsWith("calm")) assert.strictEqual(failed, 0, `failures of ${site}, which is healthy`)
    assert.isAbove(answered, 0, site)
  }
  // A load that is none shows nothing.
  assert.isAbove(requests, 100 * seconds)
  assert.deepStrictEqual({ leaks, code }, { leaks: [], code: 0 })
  assert.strictEqual(probes.connections.h2, 1, "connections for a burst over HTTP/2")
  assert.isAtMost(probes.connections["http/1.1"], 10, "connections for a burst over HTTP/1.1")
  for (const probe of probes.times) {
    const allowed = Math.floor(probe.samples * (1 - probe.share))
    assert.isAtMost(probe.over, allowed, `${probe.name}: ${JSON.stringify(probe)}`)
  }
  if (seconds >= enoughForSlope)
    assert.isBelow(heap.perMinute ?? Infinity, 1 + chance / minutes(seconds), `megabytes: ${heap.samples.join()}`)
}

/** One line for people, and figures for the page that publishes them. */
const tell = (outcome: Outcome, seed: number): void => {
  const { audit, created, faults, heap, requests, seconds, slowest, tallies } = outcome
  const sum = (of: "abandoned" | "answered" | "failed") =>
    Object.values(tallies).reduce((all, tally) => all + tally[of], 0)
  const total = Object.values(faults).reduce((all, times) => all + times, 0)
  console.log(
    `soak: ${seconds} s, ${count(requests)} requests, ${count(total)} faults, ${count(created)} connections: ` +
      `${count(sum("answered"))} answered, ${count(sum("failed"))} failed, ${count(sum("abandoned"))} abandoned, ` +
      `${audit.repeated.length} repeated, ${outcome.leaks.length} leaks, slowest ${count(slowest)} ms, ` +
      `heap ${count(heap.megabytes)} MB, ${heap.perMinute === undefined ? "?" : count(heap.perMinute)} more per minute (POOLKIT_SEED=${seed})`
  )
  for (const probe of outcome.probes.times) console.log(`soak: ${line(probe)}`)
  const file = process.env["POOLKIT_FIGURES"]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ soak: outcome, seed })}\n`)
}

const line = ({ bound, name, over, p50, samples, share, worst }: Probe): string =>
  `${name}: p50 ${count(p50)} ms, p${count(100 * share)} ${count(worst)} ms of ${count(bound)} ms, ` +
  `${over} of ${count(samples)} over it`
