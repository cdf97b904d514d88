/**
 * Two servers, of which one is killed and started again while requests run.
 * Every request is answered.
 */
import { Addresses } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { makeClient } from "./client.ts"
import { start } from "./serverProcess.ts"

/** Which server answered how often. */
type Tally = Readonly<Record<string, number>>

export const program = Effect.gen(function* () {
  const [a, b] = yield* Effect.all([start("a"), start("b")], { concurrency: 2 })
  const client = yield* makeClient(Addresses.constant([a, b].map(({ port }) => ({ host: "127.0.0.1", port }))))

  let asked = 0
  let wrong = 0
  let answers: Record<string, number> = {}
  const tally = (): Tally => {
    const before = answers
    answers = {}
    return before
  }

  // An echo is safe to repeat, even if the server that was killed got it.
  const ask = Effect.suspend(() => {
    const text = String(++asked)
    return Effect.map(
      Effect.retry(client.send(`ECHO ${text}`), { while: ({ _tag }) => _tag === "LineError", times: 3 }),
      (reply) => {
        const [server, echo] = reply.split(" ")
        if (echo !== text) wrong++
        answers[server!] = (answers[server!] ?? 0) + 1
      }
    )
  })
  const load = yield* Effect.forkScoped(
    Effect.all(
      Array.from({ length: 80 }, () => Effect.forever(ask)),
      { concurrency: "unbounded" }
    )
  )
  /** Lets the load run until `enough`, and says who answered meanwhile. */
  const until = (enough: (answers: Tally) => boolean) =>
    Effect.sleep("5 millis").pipe(
      Effect.repeat({ while: () => !enough(answers) }),
      Effect.raceFirst(Fiber.join(load)),
      Effect.timeout("20 seconds"),
      Effect.map(tally)
    )
  const both = ({ a = 0, b = 0 }: Tally) => a >= 300 && b >= 300

  const before = yield* until(both)
  yield* b.kill
  tally()
  const meanwhile = yield* until(({ a = 0 }) => a >= 500)
  yield* b.restart
  const after = yield* until(both)

  yield* Fiber.interrupt(load)
  const { failed, retried } = yield* client.stats
  return { before, meanwhile, after, wrong, failed, retried }
}).pipe(Effect.scoped)

if (import.meta.main) console.log(await Effect.runPromise(program))
