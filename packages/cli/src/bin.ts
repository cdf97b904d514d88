#!/usr/bin/env node
/**
 * The entry of the `poolkit` command: output, signals, exit status.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import { readFileSync } from "node:fs"
import { explainUsage } from "./errors.ts"
import { poolkit } from "./run.ts"

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }

// One line for each error, instead of the help and a block.
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(`poolkit: ${explainUsage(event.commandPath, event.errors)}`)
      : CliOutput.defaultPresenter.present(event)
})
const formatter = CliOutput.layer({
  ...CliOutput.defaultFormatter(),
  formatError: (error) => `poolkit: ${error.message}`
})
const flags = CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })

// Whoever read the output may have gone away; that is no reason for a stack trace.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})

let stopped: number | undefined
process.once("SIGINT", () => {
  stopped = 130
})
process.once("SIGTERM", () => {
  stopped = 143
})

Command.run(poolkit, { version }).pipe(
  Effect.provide(Layer.mergeAll(NodeServices.layer, presenter, formatter, flags)),
  NodeRuntime.runMain({
    // However much of a stopped run went well, its status says that it was stopped.
    teardown: (exit, onExit) => Runtime.defaultTeardown(exit, (code) => onExit(stopped ?? code))
  })
)
