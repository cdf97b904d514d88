import { assert, describe, it } from "@effect/vitest"
import { compare, summarize } from "../src/harness/statistics.ts"
import type { Result } from "../src/harness/result.ts"
import type { Subject, Target } from "../src/harness/subject.ts"
import { judge } from "../src/harness/verdict.ts"

const resultOf = (figures: Readonly<Record<string, ReadonlyArray<number>>>): Result => ({
  subject: "test",
  date: "2026-01-01T00:00:00.000Z",
  settings: { rounds: 3, processes: 1, sampleTime: 1, warmUp: 1, leadIn: 0 },
  machine: { cpu: "", cores: 1, memory: "", os: "", load: 0 },
  versions: {},
  seconds: 0,
  cases: [
    {
      name: "case",
      contestants: Object.entries(figures).map(([contestant, values]) => ({
        contestant,
        operations: 1,
        rounds: values.map((time) => ({ time }))
      }))
    }
  ]
})

const subjectOf = (target: Partial<Target>): Subject => ({
  title: "",
  about: "",
  cases: [],
  baseline: "",
  columns: [],
  charts: [],
  targets: [
    { what: "", figure: "time", of: ["case", "ours"], against: [["case", "theirs"]], must: 1, aim: 0.5, ...target }
  ]
})

const verdictOf = (target: Partial<Target>, figures: Readonly<Record<string, ReadonlyArray<number>>>) =>
  judge(subjectOf(target), resultOf(figures)).map(({ against, found, verdict }) => [found.median, against, verdict])

describe("judge", () => {
  it("takes the median of the ratios round by round", () => {
    assert.deepStrictEqual(verdictOf({}, { ours: [1, 10, 4], theirs: [2, 10, 2] }), [[1, "theirs", "must"]])
  })

  it("tells what is aimed for, what is reached and what is missed", () => {
    const verdicts = [1, 2, 3].map((time) => verdictOf({}, { ours: [time], theirs: [2] })[0]![2])
    assert.deepStrictEqual(verdicts, ["aim", "must", "missed"])
  })

  it("compares with the best of several", () => {
    const against = [
      ["case", "slow"],
      ["case", "fast"]
    ] as const
    assert.deepStrictEqual(verdictOf({ against }, { ours: [3], slow: [9], fast: [3] }), [[1, "fast", "must"]])
    const better = "higher"
    assert.deepStrictEqual(verdictOf({ against, better }, { ours: [3], slow: [3], fast: [9] })[0]![1], "fast")
  })

  it("has the bounds the other way round where more is better", () => {
    const target = { better: "higher", must: 1, aim: 2 } as const
    const verdicts = [4, 2, 1].map((time) => verdictOf(target, { ours: [time], theirs: [2] })[0]![2])
    assert.deepStrictEqual(verdicts, ["aim", "must", "missed"])
  })

  it("takes differences, and figures by themselves", () => {
    assert.deepStrictEqual(verdictOf({ by: "difference" }, { ours: [3], theirs: [2] }), [[1, "theirs", "must"]])
    assert.deepStrictEqual(verdictOf({ against: [] }, { ours: [3] }), [[3, undefined, "missed"]])
  })

  it("leaves out what was not measured", () => {
    assert.deepStrictEqual(verdictOf({}, { ours: [1] }), [])
    assert.deepStrictEqual(verdictOf({}, { theirs: [1] }), [])
  })
})

describe("summarize", () => {
  it("gives the median and the middle half", () => {
    assert.deepStrictEqual(summarize([5, 1, 4, 2, 3]), { median: 3, low: 2, high: 4 })
  })
})

describe("compare", () => {
  it("leaves out rounds that only one of them has", () => {
    assert.strictEqual(compare([1, 2, 100], [1, 1], (a, b) => a / b).median, 1.5)
  })
})
