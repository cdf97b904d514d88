/** Runs the churn in a process of its own and judges it. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Counts } from "./faultServer.ts"
import type { Outcome } from "./churn.ts"
import { summary } from "./suite.ts"

interface Report {
  readonly outcomes: ReadonlyArray<Outcome>
  readonly counts: Counts
  /** Exit code of the fault server. */
  readonly code: number
  /** What the client's process still had open. */
  readonly open: ReadonlyArray<string>
}

interface Ended {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

const programs = { "HTTP/1.1": "./http1Churn.ts", "HTTP/2": "./http2Churn.ts" }

const start = (program: string, args: ReadonlyArray<string>, timeout: number) =>
  Effect.callback<Ended>((resume) => {
    const child = execFile(
      process.execPath,
      [fileURLToPath(new URL(program, import.meta.url)), ...args],
      { timeout },
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error === null ? 0 : (error.signal ?? error.code ?? "unknown"), stdout, stderr }))
    )
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

/** `rounds` times 16 requests at once, for each seed. A run with the same seed makes the same requests. */
export const churn = (protocol: keyof typeof programs, seeds: ReadonlyArray<number>, rounds: number, timeout: number) =>
  Effect.gen(function* () {
    const requests = 16
    const { code, stderr, stdout } = yield* start(
      programs[protocol],
      [seeds.join(), String(rounds), String(requests)],
      timeout
    )
    // nodejs/node#64841: churn of HTTP/2 corrupts node's memory. A finding about node, to be told from one about us.
    assert.notInclude([139, "SIGSEGV", "SIGABRT"], code, `node crashed: ${stderr}`)
    assert.strictEqual(code, 0, `${stdout}${stderr}`)
    const report: Report = JSON.parse(stdout)
    assert.deepStrictEqual(
      report.outcomes.flatMap(({ seed, wrong }) => wrong.map((what) => `seed ${seed}: ${what}`)),
      []
    )
    assert.deepStrictEqual({ code: report.code, open: report.open }, { code: 0, open: [] })
    const sum = (count: (outcome: Outcome) => number) => report.outcomes.reduce((all, each) => all + count(each), 0)
    const [succeeded, failed, interrupted, undetectable] = [
      sum((each) => each.succeeded),
      sum((each) => each.failed),
      sum((each) => each.interrupted),
      sum((each) => each.undetectable)
    ]
    assert.strictEqual(succeeded + failed + interrupted + undetectable, seeds.length * rounds * requests)
    assert.isAbove(succeeded, (seeds.length * rounds * requests) / 5)
    console.log(
      `${summary(`${protocol} churn`, report.counts)}: ${succeeded} served, ${failed} failed, ` +
        `${interrupted} interrupted, ${undetectable} that node cannot tell from whole ones`
    )
  })
