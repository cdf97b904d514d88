/**
 * `pnpm bench [subject …] [--quick]`: measures, prints, and unless it was quick
 * writes results and their page. `--page` only writes the page again.
 */
import * as Effect from "effect/Effect"
import { parseArgs, styleText } from "node:util"
import { runSubject } from "./harness/runSubject.ts"
import { findSubjects, loadSubject, subjectNames } from "./harness/subjects.ts"
import { judge } from "./harness/verdict.ts"
import { caseRows, writePage, writeResult } from "./report/markdown.ts"
import { number, spread } from "./report/numbers.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, page: { type: "boolean", default: false } }
})

const names = positionals.length === 0 ? subjectNames : positionals.flatMap(findSubjects)
if (names.length === 0) {
  console.error(`no such subject; there are ${subjectNames.join(", ")}`)
  process.exit(1)
}

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) => row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join("  "))
    .join("\n")
}

const colors = { aim: "green", must: "yellow", missed: "red" } as const

const run = (name: string) =>
  Effect.gen(function* () {
    const subject = yield* Effect.promise(() => loadSubject(name))
    console.log(styleText("bold", `\n${name}: ${subject.title}`))
    const result = yield* runSubject(name, {
      quick: values.quick,
      onCase: (one) => console.log(`\n${styleText("underline", one.name)}\n${columns(caseRows(subject, one))}`)
    })
    console.log(`\n${result.seconds} s`)
    for (const { found, target, verdict } of judge(subject, result)) {
      const sign = target.better === "higher" ? "≥" : "≤"
      console.log(
        styleText(colors[verdict], verdict.padEnd(7)),
        `${target.what}: ${spread(found)}, must ${sign} ${number(target.must, 2)}, aim ${sign} ${number(target.aim, 2)}`
      )
    }
    if (!values.quick) writeResult(result)
  })

if (!values.page) await Effect.runPromise(Effect.forEach(names, run, { discard: true }))
if (!values.quick) await writePage()
