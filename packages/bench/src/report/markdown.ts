/**
 * The page of results, made from what was measured and nothing else.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import type { CaseResult, Result } from "../harness/result.ts"
import { ratio, summarize } from "../harness/statistics.ts"
import type { Subject } from "../harness/subject.ts"
import { loadSubject, subjectNames } from "../harness/subjects.ts"
import { type Judged, judge, valuesOf } from "../harness/verdict.ts"
import { draw, type Mark, overview } from "./charts.ts"
import { number, scaled, spread } from "./numbers.ts"

const results = new URL("../../results/", import.meta.url)
const notes = new URL("../../notes/", import.meta.url)
const page = new URL("../../../../docs/benchmarks.md", import.meta.url)
const fromPage = "../packages/bench/results"

export const writeResult = (result: Result): void => {
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL(`${result.subject}.json`, results), `${JSON.stringify(result, undefined, 1)}\n`)
}

interface Measured {
  readonly name: string
  readonly subject: Subject
  readonly result: Result
}

/** Writes the page from the results that are there. */
export const writePage = async (): Promise<void> => {
  const all: Array<Measured> = []
  for (const name of subjectNames) {
    const file = new URL(`${name}.json`, results)
    if (!existsSync(file)) continue
    all.push({ name, subject: await loadSubject(name), result: JSON.parse(readFileSync(file, "utf8")) as Result })
  }
  const judged = all.map(({ name, result, subject }) => ({ name, subject, targets: judge(subject, result) }))
  writeFileSync(
    new URL("targets.svg", results),
    overview(judged.flatMap(({ name, targets }) => targets.map((one) => markOf(Number(name.slice(0, 2)), one))))
  )
  writeFileSync(
    page,
    [
      introduction(all),
      "## Targets\n",
      `![Every target](${fromPage}/targets.svg)\n`,
      ...judged.flatMap(({ name, subject, targets }) =>
        targets.length === 0 ? [] : [`### [${subject.title}](#${anchor(name, subject)})\n`, targetTable(targets)]
      ),
      ...all.map(section)
    ].join("\n")
  )
}

const anchor = (name: string, { title }: Subject) =>
  `${Number(name.slice(0, 2))}-${title
    .toLowerCase()
    .replace(/[^a-z0-9 -]/g, "")
    .replaceAll(" ", "-")}`

const introduction = (all: ReadonlyArray<Measured>): string => {
  const machines = new Set(
    all.map(({ result: { machine } }) => `${machine.cores} × ${machine.cpu}, ${machine.memory}, ${machine.os}`)
  )
  const versions = Object.entries(all[0]?.result.versions ?? {}).map(([name, version]) => `${name} ${version}`)
  const dates = all.map(({ result }) => result.date.slice(0, 10)).sort()
  return `# Benchmarks

This page is made by \`pnpm bench\` and says nothing that was not measured. \`pnpm bench <subject>\`, such as \`pnpm bench checkout\`,
repeats one; \`--quick\` takes seconds, prints, and writes nothing. \`packages/bench/results\` has every round as JSON.

Contestants of a case are measured in turns (A B C, B C A, …), each warm and in a process of its own, as servers are. Figures are medians
of the rounds, with the middle half of them in brackets. Ratios compare round with round, because what slows a machine down slows
neighbours down alike; absolute times are those of this machine. CPU is that of the whole process, garbage collection included. Every
contestant is set up as well as it honestly can be; each section says how.

- Machine: ${[...machines].join("; ")}
- Versions: ${versions.join(", ")}
- Measured: ${[...new Set([dates[0], dates.at(-1)])].join(" to ")}
`
}

// -----------------------------------------------------------------------------
// Targets
// -----------------------------------------------------------------------------

const words = { aim: "as aimed for", must: "reached", missed: "**missed**" }

const targetTable = (targets: ReadonlyArray<Judged>): string =>
  table(
    ["target", "found", "must", "aim", ""],
    targets.map(({ against, found, target, verdict }) => {
      const sign = target.better === "higher" ? "≥" : "≤"
      const unit = target.unit === undefined ? "" : ` ${target.unit}`
      const named = target.against.length > 1 ? `${target.what} (${against})` : target.what
      const bound = (value: number) => `${sign} ${number(value, value < 10 ? 2 : 0)}${unit}`
      return [named, `${spread(found)}${unit}`, bound(target.must), bound(target.aim), words[verdict]]
    })
  )

const markOf = (section: number, { found, target, verdict }: Judged): Mark => {
  const share = (value: number) => (target.better === "higher" ? target.must / value : value / target.must)
  return {
    label: `${section}. ${target.what}`,
    found: share(Math.max(found.median, 0)),
    aim: share(target.aim),
    verdict
  }
}

// -----------------------------------------------------------------------------
// Subjects
// -----------------------------------------------------------------------------

const section = ({ name, result, subject }: Measured): string => {
  const pictures = subject.charts.flatMap((chart, index) => {
    const svg = draw(chart, subject, result)
    if (svg === undefined) return []
    const file = `${name}-${index + 1}.svg`
    writeFileSync(new URL(file, results), svg)
    return [`![${chart.title}](${fromPage}/${file})\n`]
  })
  const note = new URL(`${name}.md`, notes)
  return [
    `## ${Number(name.slice(0, 2))}. ${subject.title}\n`,
    `${subject.about}\n`,
    `Measured ${result.date.slice(0, 16).replace("T", " ")} in ${result.seconds} s, ${result.settings.rounds} rounds` +
      `${result.machine.load > 1 ? `, while the machine had a load of ${result.machine.load}` : ""}.\n`,
    ...pictures,
    ...(existsSync(note) ? [readFileSync(note, "utf8")] : []),
    ...result.cases.flatMap((one) => [`**${one.name}**\n`, caseTable(subject, one), ...profiles(one)]),
    setups(result)
  ].join("\n")
}

export const caseRows = (subject: Subject, { contestants }: CaseResult): ReadonlyArray<ReadonlyArray<string>> => {
  const first = subject.columns[0]!
  const baseline = contestants.find(({ contestant }) => contestant === subject.baseline)
  const columns = subject.columns.filter(({ figure }) => contestants.some((one) => valuesOf(one, figure).length > 0))
  return [
    [
      "",
      ...columns.map(({ title }) => title),
      ...(baseline === undefined ? [] : [`${first.title}: ratio to ${baseline.contestant}`])
    ],
    ...contestants.map((one) => {
      const cells = columns.map(({ digits, figure, scale = 1 }) => {
        const values = valuesOf(one, figure)
        return values.length === 0 ? "" : spread(scaled(summarize(values), scale), digits)
      })
      const own = valuesOf(one, first.figure)
      const rest =
        baseline === undefined
          ? []
          : [one === baseline || own.length === 0 ? "" : number(ratio(own, valuesOf(baseline, first.figure)).median, 2)]
      return [one.contestant, ...cells, ...rest]
    })
  ]
}

const caseTable = (subject: Subject, one: CaseResult): string => {
  const [head, ...rows] = caseRows(subject, one)
  return table(head!, rows)
}

/** What stands between what was found and what is aimed for, as far as a profile can tell. */
const profiles = ({ contestants }: CaseResult): ReadonlyArray<string> =>
  contestants.flatMap(({ contestant, profile }) => {
    if (profile === undefined) return []
    const percent = (share: number) => `${number(share * 100, 0)} %`
    const parts = Object.entries(profile.parts).filter(([, share]) => share >= 0.005)
    const functions = profile.functions.map(({ name, part, share }) => `\`${name}\` of ${part} ${percent(share)}`)
    return [
      `Where the time of ${contestant} goes: ${parts.map(([part, share]) => `${part} ${percent(share)}`).join(", ")}; ` +
        `most of it in ${functions.join(", ")}.\n`
    ]
  })

const setups = ({ cases }: Result): string => {
  const known = new Map(
    cases.flatMap(({ contestants }) =>
      contestants.flatMap(({ contestant, setup }) => (setup === undefined ? [] : [[contestant, setup] as const]))
    )
  )
  return known.size === 0 ? "" : `${[...known].map(([name, setup]) => `- ${name}: ${setup}`).join("\n")}\n`
}

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map((_, column) => (column === 0 ? "---" : "--:")), ...rows]
    .map((cells) => `| ${cells.join(" | ")} |\n`)
    .join("")
