/** A failure mode of connection pools, and what shows that it does no harm here. */
export interface Mode {
  readonly id: string
  readonly failure: string
  /** As `folder of packages/file without .test.ts › title as in its source`. */
  readonly tests: ReadonlyArray<string>
  /** Why there is no test, or what a reader of the tests should know. */
  readonly note: string | undefined
}

/** A mode that tests cover. */
export const covered = (id: string, failure: string, ...tests: ReadonlyArray<string>): Mode => ({
  id,
  failure,
  tests,
  note: undefined
})

/** One that tests cover, with something to add. */
export const coveredBut = (id: string, failure: string, note: string, ...tests: ReadonlyArray<string>): Mode => ({
  id,
  failure,
  tests,
  note
})

/** One that cannot happen here. */
export const notHere = (id: string, failure: string, note: string): Mode => ({ id, failure, tests: [], note })

export interface Group {
  readonly title: string
  readonly modes: ReadonlyArray<Mode>
}
