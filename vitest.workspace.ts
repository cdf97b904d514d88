import { existsSync, readdirSync } from "node:fs"
import { defineConfig } from "vitest/config"

// Slow tests are the files named `*.slow.test.ts`; `pnpm test:slow` runs them and `pnpm test` does not.
const slow = process.env["POOLKIT_STAGE"] === "slow"

// Where to write a report that `.ci/run` counts tests from.
const report = process.env["POOLKIT_REPORT"]

const packages = readdirSync(new URL("packages", import.meta.url)).filter((name) =>
  existsSync(new URL(`packages/${name}/test`, import.meta.url))
)

export default defineConfig({
  test: {
    passWithNoTests: slow,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
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
