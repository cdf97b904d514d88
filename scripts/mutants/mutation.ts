/** A bug made on purpose, and the test that must notice it. */
export interface Mutation {
  /** What goes wrong, as a sentence. */
  readonly name: string
  /** The source, from the root of the repository. */
  readonly file: string
  /** Text that is in the source exactly once. */
  readonly find: string
  readonly replace: string
  readonly test: {
    /** The project in `vitest.workspace.ts`. */
    readonly project: string
    /** From the root of the repository. */
    readonly file: string
    /** The names of each `describe` around it and its own, joined by ` > `. */
    readonly name: string
  }
  /** `"hang"`: that the test hangs, which a time limit notices, counts too. Default: it must fail. */
  readonly kills?: "hang" | undefined
}

/** A test of a package: its file without the ending, and its full name. */
const testIn =
  (project: string) =>
  (file: string, name: string): Mutation["test"] => ({
    project,
    file: `packages/${project}/test/${file}.test.ts`,
    name
  })

export const inPool: (file: string, name: string) => Mutation["test"] = testIn("pool")
export const inHttp: (file: string, name: string) => Mutation["test"] = testIn("http")
