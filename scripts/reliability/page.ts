/** The page that says what was shown, and what was not. */
import { parse } from "./checkTests.ts"
import { type Figures, sum } from "./figures.ts"
import type { Group, Mode } from "./mode.ts"

export interface Context {
  readonly date: string
  readonly machine: string
  readonly versions: string
}

const count = (n: number): string => n.toLocaleString("en", { maximumFractionDigits: Math.abs(n) < 1 ? 2 : 1 })

const cell = (text: string): string => text.replaceAll("|", "\\|")

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n")

const promises = (figures: Figures): string => {
  const { probes, requests, slowest, tallies, audit, heap, leaks } = figures.soak
  const healthy = Object.entries(tallies).filter(([site]) => site.startsWith("calm"))
  const of = (what: "failed" | "sent") => healthy.reduce((all, [, tally]) => all + tally[what], 0)
  return table(
    ["promise", "measured", "bound"],
    [
      ...probes.times.map(({ bound, name, over, p50, samples, share, worst }) => [
        name,
        `median ${count(p50)} ms, ${share === 1 ? "worst" : `p${100 * share}`} ${count(worst)} ms, ${count(samples)} samples, ${over} over the bound`,
        `${count(bound)} ms`
      ]),
      ["connections for 100 requests at once over HTTP/2", String(probes.connections["h2"]), "1"],
      ["connections for 100 requests at once over HTTP/1.1", String(probes.connections["http/1.1"]), "10, the default"],
      ["requests to healthy addresses that failed", `${of("failed")} of ${count(of("sent"))}`, "0"],
      [
        "requests that never settled, or got another one's answer",
        `${figures.soak.wrong.length} of ${count(requests)}`,
        "0"
      ],
      ["POSTs done twice, other requests done more than twice", `${audit.repeated.length} of ${count(requests)}`, "0"],
      ["connections, fibers, timers left behind", String(leaks.length), "0"],
      [
        "growth of the heap after the warm-up",
        `${count(heap.perMinute ?? NaN)} MB a minute (${count(heap.megabytes)} MB)`,
        "1 MB a minute"
      ],
      ["the slowest request of all", `${count(slowest)} ms`, "none"]
    ]
  )
}

const total = (figures: Figures): string => {
  const { mutations, soak } = figures
  const faults = Object.values(soak.faults).reduce((all, times) => all + times, 0)
  return table(
    ["stage", "how much", "found"],
    [
      [
        "V1: every operation in every state, interrupted after every few turns",
        `${count(sum(figures, "V1", "cases"))} cases`,
        `${sum(figures, "V1", "leaks")} leaks`
      ],
      [
        "V2: every combination of what hooks can do",
        `${count(sum(figures, "V2", "combinations"))} combinations of 8 callers`,
        `${sum(figures, "V2", "violations")} violations`
      ],
      [
        "V3: random commands against models",
        `${count(sum(figures, "V3", "sequences"))} sequences, ${count(sum(figures, "V3", "commands"))} commands`,
        "0 broken rules"
      ],
      [
        "V4, V5: servers that break HTTP/1.1 and HTTP/2",
        `${count(sum(figures, "V4", "requests"))} requests over ${count(sum(figures, "V4", "connections"))} connections`,
        "every one settled"
      ],
      [
        "V6: nginx, HAProxy, nghttpd, Redis",
        `${figures.counted.filter(({ stage }) => stage.startsWith("V6")).length} runs with strict accounts`,
        "see below"
      ],
      [
        `V7: ${soak.seconds} seconds of load and faults`,
        `${count(soak.requests)} requests, ${count(faults)} faults, ${count(soak.created)} connections`,
        "see below"
      ],
      [
        "mutations of the sources, each of which a named test must kill",
        `${mutations.of} (\`pnpm test:mutants\`)`,
        `${mutations.killed} killed`
      ]
    ]
  )
}

const tallies = ({ soak }: Figures): string =>
  table(
    ["origin", "sent", "answered", "failed", "interrupted or unread"],
    Object.entries(soak.tallies).map(([site, { abandoned, answered, failed, sent }]) => [
      site,
      ...[sent, answered, failed, abandoned].map(count)
    ])
  )

/** Titles as in the source, with what varies left open. */
const shown = (test: string): string => {
  const { path, title } = parse(test)
  const file = path.slice("packages/".length)
  return `[${file.replace("/test/", "/")}](../${path}) › ${title.replaceAll(/\$\{[^}]*\}/g, "…").replaceAll(/[<>_*[\]]/g, "\\$&")}`
}

const row = ({ failure, id, note, tests }: Mode): ReadonlyArray<string> => [
  id,
  failure,
  [...tests.map(shown), ...(note === undefined ? [] : [note])].join("<br>")
]

const modes = (groups: ReadonlyArray<Group>): string =>
  groups
    .map(
      (group) =>
        `### ${group.title}\n\n${table(["", "what goes wrong", "what shows that it does no harm"], group.modes.map(row))}`
    )
    .join("\n\n")

export const page = (figures: Figures, groups: ReadonlyArray<Group>, context: Context, limits: string): string =>
  `# Reliability

Written by \`node scripts/reliability.ts\` from what the tests counted; edit that, not this. ${context.date}, ${context.versions}, on ${context.machine}.

## What callers may count on

Times are those of the caller's clock. A sample that is over its bound by less than the time for which Linux says that the
process waited for a processor (\`schedstat\` of its threads) does not count as over it: nothing in the process could make that
shorter. The rows about time were measured after the load, in the same process.

${promises(figures)}

With the default backoff a server that is back is found within one pause, 5 seconds and a fifth at most, and one connect.
Whoever needs it sooner gives the pool a shorter \`backoff\`, as in the row below it. Within a caller's \`waitTimeout\`
a pool that could not connect waits; a caller whose own connect failed gets that error.

## What was run

${total(figures)}

\`pnpm test\` runs samples of the stages, \`pnpm test:slow\` what is above, and \`pnpm test:long\` 50 times the models and half an
hour of the soak. \`POOLKIT_SEED\` repeats a run, as far as it does not hang on sockets. What each said:

${table(
  ["stage", "count"],
  [...figures.counted].sort((a, b) => a.stage.localeCompare(b.stage)).map(({ line, stage }) => [stage, line])
)}

What failed at real servers are requests to a server that was restarted rather than reloaded, and POSTs written to an
HTTP/1.1 connection in the moment in which the server closed it. Where callers ask again, no GET is lost over restarts either.

### The soak

Three healthy and three unhealthy origins over HTTP/1.1, HTTP/2 and TLS, and two healthy and two unhealthy services of a line
protocol, asked through a \`RequestQueue\` over a \`BalancePool\`, have two or three addresses each, whose lists change and have
dead addresses in them at times. Every 50 ms a fault: ${Object.entries(figures.soak.faults)
    .map(([fault, times]) => `${fault} ${times}`)
    .join(", ")}. A stall stops the client's event loop for 200 ms. What befalls healthy origins must cost no request:
GOAWAY in good order, \`connection: close\` and its like, latency, changes of address. Seed ${figures.seed}.

${tallies(figures)}

## The failure modes of connection pools

Collected from the trackers, tests and advisories of other pools. Every test in the table exists; the script that writes this
page fails if one does not.

${modes(groups)}

${limits}`
