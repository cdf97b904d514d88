/**
 * Contestants that send requests: so many at once, each timed.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Hdr from "hdr-histogram-js"
import { type HttpServer, startHttpServer, type Version } from "./httpServer.ts"
import type { Contestant, Figures } from "./subject.ts"
import { inFibers, inPromises } from "./work.ts"

export interface Situation {
  readonly version: Version
  readonly tls: boolean
  readonly concurrency: number
  /** Bytes of the response's body. */
  readonly size: number
}

/** One request and its whole body, as a promise or as an effect. */
export type Send =
  | { readonly promise: () => Promise<{ readonly byteLength: number }> }
  | { readonly effect: () => Effect.Effect<{ readonly byteLength: number }, unknown> }

export interface Client {
  readonly name: string
  readonly setup: string
  readonly open: (server: HttpServer, situation: Situation) => Effect.Effect<Send, unknown, Scope>
}

export const contestantsOf = (clients: ReadonlyArray<Client>, situation: Situation): ReadonlyArray<Contestant> =>
  clients.map(({ name, open, setup }) => ({
    name,
    setup,
    open: startHttpServer(situation.version, situation.tls).pipe(
      Effect.flatMap((server) => open(server, situation)),
      Effect.map((send) => async (operations) => {
        const latencies = Hdr.build({ numberOfSignificantValueDigits: 3, highestTrackableValue: 60_000_000 })
        const check = ({ byteLength }: { readonly byteLength: number }, start: number) => {
          if (byteLength !== situation.size) {
            throw new Error(`${name}: ${byteLength} bytes instead of ${situation.size}`)
          }
          latencies.recordValue(Math.round((performance.now() - start) * 1000))
        }
        await run(send, situation.concurrency, operations, check)
        return { p50: latencies.getValueAtPercentile(50), p99: latencies.getValueAtPercentile(99) } satisfies Figures
      })
    )
  }))

const run = (
  send: Send,
  concurrency: number,
  operations: number,
  check: (body: { readonly byteLength: number }, start: number) => void
): Promise<void> => {
  if ("promise" in send) {
    return inPromises(concurrency, operations, async () => {
      const start = performance.now()
      check(await send.promise(), start)
    })
  }
  return Effect.runPromise(
    inFibers(concurrency, operations, () => {
      const start = performance.now()
      return Effect.map(send.effect(), (body) => check(body, start))
    })
  )
}
