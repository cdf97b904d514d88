/**
 * Checks that the tests notice bugs: makes each of the bugs listed in
 * `mutants/`, one at a time and in a private copy of the repository, and runs
 * the test that is named to notice it, which must pass before and fail then.
 *
 * `node scripts/mutants.ts [words]` takes only the mutations whose name or file
 * contains the words. Exits with 1 if a mutation survives, or if its text is
 * no longer in the source exactly once. A run of all tells the file that
 * `POOLKIT_FIGURES` names, for docs/reliability.md.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { all } from "./mutants/all.ts"
import { makeCopies } from "./mutants/copy.ts"
import type { Mutation } from "./mutants/mutation.ts"
import { runTests, stopAll } from "./mutants/vitest.ts"

interface Result {
  readonly mutation: Mutation
  readonly killed: boolean
  readonly seconds: number
}

const root = join(import.meta.dirname, "..")
const parallel = 2
/** Milliseconds after which a test has hung, and after which a run has, which also starts and loads the sources. */
const limits = { test: 6_000, run: 30_000 }
/** Where that is what the mutation is expected to do, and nothing is gained by a longer wait. */
const limitsToHang = { test: 3_000, run: 10_000 }

/** What is wrong with the list itself, before anything runs. */
const findStale = (mutations: ReadonlyArray<Mutation>): ReadonlyArray<string> =>
  mutations.flatMap(({ file, find, name, replace }) => {
    const path = join(root, file)
    const count = existsSync(path) ? readFileSync(path, "utf8").split(find).length - 1 : 0
    if (count === 1 && find !== replace) return []
    const problem = count === 1 ? "it changes nothing" : `its text is there ${count} times, not once`
    return [`stale: ${name} (${file}): ${problem}`]
  })

/** Which tests do not pass although nothing is mutated. */
const findBroken = async (copy: string, mutations: ReadonlyArray<Mutation>): Promise<ReadonlyArray<string>> => {
  const { output, verdictOf } = await runTests(
    copy,
    mutations.map(({ test }) => test),
    { test: 4 * limits.test, run: 4 * limits.run }
  )
  const broken = mutations.flatMap(({ test }) => {
    const verdict = verdictOf(test)
    if (verdict === "passed") return []
    return [`${verdict} without a mutation: ${test.name} (${test.file})`]
  })
  if (broken.length > 0) console.error(output)
  return broken
}

const tryOne = async (copy: string, mutation: Mutation): Promise<Result> => {
  const started = performance.now()
  const path = join(copy, mutation.file)
  const source = readFileSync(path, "utf8")
  // A function, because a string would be searched for `$`.
  writeFileSync(
    path,
    source.replace(mutation.find, () => mutation.replace)
  )
  const { output, verdictOf } = await runTests(copy, [mutation.test], mutation.kills === "hang" ? limitsToHang : limits)
  writeFileSync(path, source)
  const seconds = (performance.now() - started) / 1000
  const verdict = verdictOf(mutation.test)
  const killed = verdict === "failed" || (verdict === "hung" && mutation.kills === "hang")
  const found = killed ? "killed" : verdict === "passed" ? "SURVIVED" : `NOT KILLED, the test is ${verdict}`
  console.log(`${seconds.toFixed(1).padStart(5)} s  ${found}: ${mutation.name}`)
  if (verdict === "not run") console.error(output)
  return { mutation, killed, seconds }
}

/** Takes mutations from one list in as many copies as there are. */
const tryAll = async (
  copies: ReadonlyArray<string>,
  mutations: ReadonlyArray<Mutation>
): Promise<ReadonlyArray<Result>> => {
  const results: Array<Result> = []
  const left = mutations.map((mutation, i) => ({ mutation, i }))
  const work = async (copy: string) => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      results[next.i] = await tryOne(copy, next.mutation)
    }
  }
  await Promise.all(copies.map(work))
  return results
}

const printTable = (results: ReadonlyArray<Result>): void => {
  console.log("\n| mutation | file | killed by | seconds |\n| --- | --- | --- | ---: |")
  for (const { killed, mutation, seconds } of results) {
    const { file, name, test } = mutation
    console.log(`| ${name} | ${file} | ${killed ? test.name : "**nothing**"} | ${seconds.toFixed(1)} |`)
  }
}

const main = async (): Promise<boolean> => {
  const words = process.argv.slice(2).join(" ")
  const mutations = all.filter(({ file, name }) => `${name} ${file}`.includes(words))
  if (mutations.length === 0) throw new Error(`no mutation's name or file contains "${words}"`)
  const stale = findStale(mutations)
  for (const problem of stale) console.error(problem)
  if (stale.length > 0) return false
  let remove = () => {}
  const clear = () => {
    stopAll()
    remove()
  }
  const stop = () => {
    clear()
    process.exit(130)
  }
  // First, because a signal is heard only when the copying is over.
  process.on("SIGINT", stop).on("SIGTERM", stop)
  try {
    const made = makeCopies(root, parallel)
    remove = made.remove
    const broken = await findBroken(made.copies[0]!, mutations)
    for (const problem of broken) console.error(problem)
    if (broken.length > 0) return false
    const results = await tryAll(made.copies, mutations)
    printTable(results)
    const killed = results.filter((result) => result.killed).length
    console.log(`\n${killed} of ${results.length} killed`)
    const figures = process.env["POOLKIT_FIGURES"]
    if (figures !== undefined && words === "") {
      appendFileSync(figures, `${JSON.stringify({ mutations: { killed, of: results.length } })}\n`)
    }
    return killed === results.length
  } finally {
    clear()
  }
}

process.exitCode = (await main()) ? 0 : 1
