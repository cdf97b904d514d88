/**
 * HTTP/2 requests.
 */
import type { Case, Subject, Target } from "../harness/subject.ts"
import { contestantsOf, type Situation } from "../harness/requests.ts"
import * as Clients from "../peers/http.ts"
import { rawHttp2 } from "../peers/raw.ts"

const concurrencies = [1, 10, 50]
const sizes = [100, 65_536]

const nameOf = ({ concurrency, size }: Pick<Situation, "concurrency" | "size">) =>
  `${size === 100 ? "100 bytes" : "64 KiB"}, ${concurrency} at once`

const clients = [
  Clients.httpPool,
  Clients.pooledHttpClient,
  Clients.undiciPoolDispatch,
  Clients.undiciPoolRequest,
  Clients.layerUndici,
  rawHttp2
]

const cases: ReadonlyArray<Case> = sizes.flatMap((size) =>
  concurrencies.map((concurrency) => {
    const situation = { version: "http2" as const, tls: true, size, concurrency }
    return {
      name: nameOf(situation),
      batch: concurrency,
      slow: size !== 100,
      contestants: contestantsOf(clients, situation)
    }
  })
)

const targets: ReadonlyArray<Target> = concurrencies.flatMap((concurrency) => {
  const name = nameOf({ size: 100, concurrency })
  const against = (of: string, rival: string, must: number, aim: number): Target => ({
    what: `requests/s of ${of} against ${rival}, ${concurrency} at once`,
    figure: "rate",
    better: "higher",
    of: [name, of],
    against: [[name, rival]],
    must,
    aim
  })
  return [
    against("HttpPool", "undici Pool.request", 1.15, 1.25),
    against("HttpPool", "raw http2 session", 0.85, 0.95),
    against("PooledHttpClient.layer", "NodeHttpClient.layerUndici", 1.5, 2.2)
  ]
})

const subject: Subject = {
  title: "HTTP/2",
  about:
    "The same over one HTTP/2 connection with TLS. The server is `node:http2` in its own process; where it is the server that limits " +
    "the rate, look at the CPU of the client.",
  cases,
  baseline: "HttpPool",
  columns: [
    { figure: "rate", title: "requests/s", digits: 0 },
    { figure: "cpu", title: "CPU µs", scale: 1e-3, digits: 1 },
    { figure: "p50", title: "p50, µs", digits: 0 },
    { figure: "p99", title: "p99, µs", digits: 0 }
  ],
  targets,
  charts: sizes.map((size) => ({
    title: `HTTP/2, ${size === 100 ? "100 bytes" : "64 KiB"}: CPU of the client per request`,
    kind: "bars",
    figure: "cpu",
    unit: "µs",
    scale: 1e-3,
    cases: concurrencies.map((concurrency) => nameOf({ size, concurrency }))
  })),
  // The first tens of thousands of requests run at a third of the speed.
  sampleTime: 120,
  warmUp: 2_500,
  leadIn: 0.4
}

export default subject
