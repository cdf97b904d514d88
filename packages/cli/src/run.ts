/**
 * The `poolkit` command.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { drive, type Target } from "./drive.ts"
import { CommandFailed, explain } from "./errors.ts"
import * as LocalOrigins from "./localOrigins.ts"
import { options } from "./options.ts"
import * as Origin from "./origin.ts"
import * as Progress from "./progress.ts"
import * as Json from "./json.ts"
import * as Report from "./report.ts"

type Options = Command.Command.Config.Infer<typeof options>

const run = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<void, CommandFailed, Scope.Scope> {
  const goal = goalOf(options)
  const { origins, targets } = yield* open(options)
  // Before anything is counted: what cannot be reached at all is a mistake in the command, not a result.
  yield* Effect.forEach(
    origins,
    (origin) => Effect.mapError(origin.probe, (error) => new CommandFailed({ line: explain(origin.name, error) })),
    { concurrency: "unbounded", discard: true }
  )

  const start = yield* Clock.monotonicTimeNanos
  const report = Effect.gen(function* () {
    const seconds = Number((yield* Clock.monotonicTimeNanos) - start) / 1e9
    const rows = origins.map((origin) => ({ ...origin.seen, name: origin.name, tally: origin.tally }))
    yield* Console.log(options.json ? Json.render(rows, seconds) : Report.render(rows, goal.requests, seconds))
  })
  const patience = Duration.max(options.connectTimeout, options.timeout)
  yield* drive(targets, { ...goal, concurrency: options.concurrency, patience }).pipe(
    Effect.andThen(Effect.suspend(() => failIfAnyFailed(origins))),
    Effect.catchTag("GaveUp", ({ after, last, name }) =>
      Effect.fail(
        new CommandFailed({
          line: `stopped, no answer for ${Duration.format(after)}: ${explain(name, last)}`
        })
      )
    ),
    withProgress(origins, goal),
    // An interrupted run shows what it did, too.
    Effect.onExit(() => report)
  )
}, Effect.scoped)

/** A run is bound by requests, by time, or by both; by 20,000 requests if nothing is said. */
const goalOf = (options: Options): Progress.Goal => ({
  requests: Option.getOrElse(options.requests, () => (Option.isSome(options.duration) ? Infinity : 20_000)),
  duration: Option.getOrUndefined(options.duration)
})

/** One pool for all origins, one target for each URL. */
const open = Effect.fnUntraced(function* (options: Options) {
  if (options.http1 && options.http2) {
    return yield* new CommandFailed({ line: "--http1 and --http2 exclude each other; pass one of them, or none" })
  }
  const protocols = options.http1 ? "http1" : options.http2 ? "http2" : "auto"
  const local = options.urls.length === 0 ? yield* LocalOrigins.make(protocols) : undefined
  const urls = local?.urls ?? options.urls
  const origins = yield* Origin.makeAll(urls, {
    protocols,
    maxConnections: options.maxConnections,
    connectTimeout: options.connectTimeout,
    timeout: options.timeout,
    ca: local?.ca ?? Option.getOrUndefined(options.ca),
    insecure: options.insecure
  })
  const targets = urls.map((url): Target => {
    const { name, request, tally } = origins.get(Origin.nameOf(url))!
    return { name, request: request(url.pathname + url.search), tally }
  })
  return { origins: [...origins.values()], targets }
})

const withProgress =
  (origins: ReadonlyArray<Origin.Origin>, goal: Progress.Goal) =>
  <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.scoped(
      Effect.andThen(
        Progress.show(origins, goal, {
          isTTY: process.stderr.isTTY,
          get columns() {
            // A terminal that does not know its width says 0.
            return process.stderr.columns || 80
          },
          write: (text) => process.stderr.write(text)
        }),
        self
      )
    )

const failIfAnyFailed = (origins: ReadonlyArray<Origin.Origin>): Effect.Effect<void, CommandFailed> => {
  const failed = origins.reduce((sum, origin) => sum + origin.tally.failed, 0)
  return failed === 0
    ? Effect.void
    : Effect.fail(
        new CommandFailed({
          line: `${failed.toLocaleString("en")} ${failed === 1 ? "request" : "requests"} failed, see above`
        })
      )
}

const runCommand = Command.make("run", options, run).pipe(
  Command.withShortDescription("Send requests through connection pools and measure"),
  Command.withDescription(
    [
      "Send GET requests through a pool that has, for each origin, one HTTP/2 connection that they share",
      "or several HTTP/1.1 connections, as the server prefers.",
      "Progress goes to stderr, the table at the end to stdout.",
      "",
      "A latency is the time from a request until its whole response, the wait for a connection included.",
      "A request fails when no whole response comes, or one with a status of 500 or more. Redirects are not followed.",
      "An origin that only fails for as long as the longer timeout ends the run.",
      "",
      "Exit status: 0 no request failed, 1 a request failed or the command is wrong,",
      "130 stopped by SIGINT (Ctrl-C), 143 stopped by SIGTERM. A stopped run prints its table, too."
    ].join("\n  ")
  ),
  Command.withExamples([
    { command: "poolkit run", description: "Send 20,000 requests to three servers in this process" },
    { command: "poolkit run https://example.com/ --http2 --duration 10 --json", description: "Measure for a while" },
    {
      command: "poolkit run http://localhost:8080/ https://example.com/ --requests 5000 --concurrency 20",
      description: "Send requests to real servers"
    }
  ])
)

/**
 * The command with its subcommands.
 *
 * @category commands
 * @since 0.1.0
 */
export const poolkit = Command.make("poolkit").pipe(
  Command.withDescription("Drive real requests through connection pools and watch them"),
  Command.withSubcommands([runCommand])
)
