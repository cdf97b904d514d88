import { existsSync, readdirSync } from "node:fs"
import { defineConfig } from "vitest/config"

// Slow tests are the files named `*.slow.test.ts`; `pnpm test:slow` runs them and `pnpm test` does not.
const slow = process.env["POOLKIT_STAGE"] === "slow"

// Where to write a report that `.ci/run` counts tests from.
const report = process.env["POOLKIT_REPORT"]

// Where to collect what stages count, for docs/reliability.md.
const figures = process.env["POOLKIT_FIGURES"]

const packages = readdirSync(new URL("packages", import.meta.url)).filter((name) =>
  existsSync(new URL(`packages/${name}/test`, import.meta.url))
)

export default defineConfig({
  test: {
    passWithNoTests: slow,
    // Of two processors one would do nothing; what is slow measures times.
    ...(slow ? {} : { maxWorkers: 2 }),
    reporters: [
      "default",
      ...(report === undefined ? [] : [["json", { outputFile: report }] satisfies [string, object]]),
      ...(figures === undefined ? [] : [new URL("scripts/reliability/collect.ts", import.meta.url).pathname])
    ],
    projects: packages.map((name) => ({
      extends: true as const,
      test: {
        name,
        include: [`packages/${name}/test/**/*${slow ? ".slow" : ""}.test.ts`],
        exclude: slow ? [] : ["**/*.slow.test.ts"],
        testTimeout: slow ? 300_000 : 30_000,
        hookTimeout: slow ? 60_000 : 10_000,
        execArgv: ["--expose-gc"]
      }
    }))
  }
})
