/**
 * HTTP/1.1 requests.
 */
import type { Case, Subject, Target } from "../harness/subject.ts"
import { contestantsOf, type Situation } from "../harness/requests.ts"
import * as Clients from "../peers/http.ts"
import { rawSocket } from "../peers/raw.ts"

const concurrencies = [1, 10, 50]
/** Where one request at a time would show nothing that the plainest cases do not. */
const concurrenciesOf = (tls: boolean, size: number) =>
  tls || size !== 100 ? concurrencies.filter((concurrency) => concurrency > 1) : concurrencies
const sizes = [100, 65_536]

const nameOf = ({ concurrency, size, tls }: Omit<Situation, "version">) =>
  `${size === 100 ? "100 bytes" : "64 KiB"}${tls ? " over TLS" : ""}, ${concurrency} at once`

/** Everybody takes part in the plainest cases; the others have those whose place could change. */
const clients = ({ concurrency, size, tls }: Omit<Situation, "version">) =>
  tls || size !== 100
    ? [Clients.httpPool, Clients.pooledHttpClient, Clients.undiciPoolRequest, Clients.layerUndici, rawSocket]
    : [
        Clients.httpPool,
        Clients.pooledHttpClient,
        Clients.undiciPoolDispatch,
        Clients.undiciPoolRequest,
        ...(concurrency === 1 ? [Clients.undiciClientRequest] : []),
        ...(concurrency === 10
          ? []
          : [Clients.undiciAgentRequest, Clients.fetch, Clients.gotHttp1, Clients.layerNodeHttp]),
        Clients.nodeHttp,
        Clients.layerUndici,
        rawSocket
      ]

const cases: ReadonlyArray<Case> = [false, true].flatMap((tls) =>
  sizes.flatMap((size) =>
    concurrenciesOf(tls, size).map((concurrency) => {
      const situation = { version: "http1" as const, tls, size, concurrency }
      return {
        name: nameOf(situation),
        batch: concurrency,
        slow: tls || size !== 100,
        contestants: contestantsOf(clients(situation), situation)
      }
    })
  )
)

const bounds = new Map([
  [1, [1.05, 1.15]],
  [10, [1.15, 1.3]],
  [50, [1.15, 1.3]]
] as const)

const targets: ReadonlyArray<Target> = concurrencies.flatMap((concurrency) => {
  const name = nameOf({ tls: false, size: 100, concurrency })
  const [must, aim] = bounds.get(concurrency as 1 | 10 | 50)!
  const common = { figure: "rate", better: "higher" as const }
  return [
    {
      ...common,
      what: `requests/s of HttpPool against undici Pool.request, ${concurrency} at once`,
      of: [name, "HttpPool"],
      against: [[name, "undici Pool.request"]],
      must,
      aim
    },
    {
      ...common,
      what: `requests/s of PooledHttpClient against NodeHttpClient.layerUndici, ${concurrency} at once`,
      of: [name, "PooledHttpClient.layer"],
      against: [[name, "NodeHttpClient.layerUndici"]],
      must: 1.3,
      aim: 1.7
    }
  ] satisfies ReadonlyArray<Target>
})

const subject: Subject = {
  title: "HTTP/1.1",
  about:
    "GET requests whose whole body is read, so many at a time over as many connections, all of which are open before the first " +
    "sample. The server has its own process and does next to nothing, so that the client is what limits the rate.",
  cases,
  baseline: "HttpPool",
  columns: [
    { figure: "rate", title: "requests/s", digits: 0 },
    { figure: "cpu", title: "CPU µs", scale: 1e-3, digits: 1 },
    { figure: "p50", title: "p50, µs", digits: 0 },
    { figure: "p99", title: "p99, µs", digits: 0 }
  ],
  targets,
  charts: [
    {
      title: "HTTP/1.1, 100 bytes: CPU of the client per request",
      kind: "bars",
      figure: "cpu",
      unit: "µs",
      scale: 1e-3,
      cases: [false, true].flatMap((tls) =>
        concurrenciesOf(tls, 100).flatMap((concurrency) =>
          concurrency === 10 ? [] : nameOf({ tls, size: 100, concurrency })
        )
      )
    },
    {
      title: "HTTP/1.1, 64 KiB: CPU of the client per request",
      kind: "bars",
      figure: "cpu",
      unit: "µs",
      scale: 1e-3,
      cases: [false, true].flatMap((tls) => [10, 50].map((concurrency) => nameOf({ tls, size: 65_536, concurrency })))
    }
  ],
  // The first tens of thousands of requests run at a third of the speed.
  sampleTime: 120,
  warmUp: 2_500,
  leadIn: 0.4
}

export default subject
