/**
 * Runs single tests in a copy of the repository.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"

/** A test as `Mutation` names it. */
interface Test {
  readonly project: string
  readonly file: string
  readonly name: string
}

/** What a run made of a test: `not run` if it is not there or its file does not load, `hung` if it did not end in time. */
export type Verdict = "passed" | "failed" | "hung" | "not run"

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly assertionResults: ReadonlyArray<{
      readonly ancestorTitles: ReadonlyArray<string>
      readonly title: string
      readonly status: string
      readonly failureMessages?: ReadonlyArray<string | null> | null
    }>
  }>
}

const running = new Set<() => void>()

/** Ends every run at once. */
export const stopAll = (): void => {
  for (const stop of running) stop()
}

/**
 * Runs `tests`, and only these, and judges each. A test that takes longer than
 * `limits.test` milliseconds has hung, and so have all if the whole run takes
 * longer than `limits.run`.
 */
export const runTests = async (
  copy: string,
  tests: ReadonlyArray<Test>,
  limits: { readonly test: number; readonly run: number }
): Promise<{ readonly verdictOf: (test: Test) => Verdict; readonly output: string }> => {
  const folder = mkdtempSync(join(copy, "..", "report-"))
  const path = join(folder, "report.json")
  const names = tests.map(({ name }) => name.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
  const { inTime, output } = await run(copy, limits.run, [
    "run",
    "--config=vitest.workspace.ts",
    ...new Set(tests.map(({ project }) => `--project=${project}`)),
    `--testNamePattern=^(${names.join("|")})$`,
    `--testTimeout=${limits.test}`,
    "--teardownTimeout=500",
    "--reporter=json",
    `--outputFile=${path}`,
    ...new Set(tests.map(({ file }) => file))
  ])
  const report = read(path)
  rmSync(folder, { recursive: true })
  const verdictOf = ({ file, name }: Test): Verdict => {
    if (!inTime) return "hung"
    const results = report?.testResults.find((result) => result.name === join(copy, file))?.assertionResults ?? []
    const found = results.filter(({ ancestorTitles, title }) => [...ancestorTitles, title].join(" > ") === name)
    if (found.length !== 1) return "not run"
    const [{ failureMessages, status }] = found as [(typeof found)[0]]
    if (status === "passed") return "passed"
    if (status !== "failed") return "not run"
    return failureMessages?.some((message) => message?.includes("Test timed out in") === true) === true
      ? "hung"
      : "failed"
  }
  return { verdictOf, output }
}

const read = (path: string): Report | undefined => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return undefined
  }
}

/** Runs vitest in a process group of its own: a worker that spins must not outlive it. */
const run = (
  copy: string,
  timeout: number,
  args: ReadonlyArray<string>
): Promise<{ readonly inTime: boolean; readonly output: string }> =>
  new Promise((resolve) => {
    const vitest = join(copy, "node_modules", "vitest", "vitest.mjs")
    // What broken sources count is published nowhere.
    const { POOLKIT_FIGURES: _, POOLKIT_STAGE: __, ...env } = process.env
    const child = spawn(process.execPath, [vitest, ...args], { cwd: copy, env, detached: true })
    let output = ""
    let inTime = true
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)))
    const stop = () => {
      try {
        process.kill(-child.pid!, "SIGKILL")
      } catch {
        // It has ended already.
      }
    }
    const timer = setTimeout(() => {
      inTime = false
      stop()
    }, timeout)
    running.add(stop)
    child.on("close", () => {
      clearTimeout(timer)
      running.delete(stop)
      resolve({ inTime, output })
    })
  })
