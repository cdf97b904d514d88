/** That every loan ends, whatever becomes of a response. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpBody, HttpClient, type HttpClientResponse } from "effect/http"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import { type Handler, say } from "./dropIn/lab.ts"
import { atRest, collected, forgetUnread, stalled, withServer } from "./dropIn/pooled.ts"
import { getEventListeners } from "node:events"
import { untilAborted } from "../src/internal/clientLifetime.ts"
import { leakOracle } from "./leakOracle.ts"
import { nextTurn } from "./servers.ts"

const oracle = leakOracle()

type Read = (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<unknown, unknown>

const ways: Record<string, Read> = {
  text: (response) => response.text,
  json: (response) => response.json,
  arrayBuffer: (response) => response.arrayBuffer,
  urlParamsBody: (response) => response.urlParamsBody,
  formData: (response) => response.formData,
  stream: (response) => Stream.runDrain(response.stream),
  "part of the stream": (response) => Stream.runHead(response.stream),
  "a stream that fails": (response) => Stream.runForEach(response.stream, () => Effect.fail("enough")),
  twice: (response) => Effect.andThen(response.text, response.text),
  nothing: () => Effect.void
}

/** A form in pieces, so that it is still on its way when the response is there. */
const inPieces: Handler = async (_, response) => {
  response.head(200, { "content-type": "application/x-www-form-urlencoded" })
  for (const piece of ["[1,", "2,", "3]"]) {
    response.write(piece)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  response.end()
}

for (const protocol of ["http/1.1", "h2"] as const) {
  describe(`PooledHttpClient over ${protocol}`, () => {
    describe("loans", () => {
      for (const [name, read] of Object.entries(ways)) {
        it.live(`end when of a body is read: ${name}`, () =>
          withServer(oracle, protocol, inPieces, { maxSizePerOrigin: 1 }, ({ pool, url }) =>
            Effect.gen(function* () {
              for (let i = 0; i < 3; i++) {
                // Kept, so that it is not the garbage collector who ends the loan.
                const response = yield* HttpClient.get(url)
                yield* Effect.exit(read(response))
                assert.strictEqual((yield* atRest(pool)).idle, 1)
                assert.strictEqual(response.status, 200)
              }
              assert.strictEqual((yield* pool.stats).created, 1)
            })
          )
        )
      }

      it.live("end when the reading of a body fails", () =>
        withServer(
          oracle,
          protocol,
          async (_, response) => {
            response.head(200, { "content-length": "100" })
            response.write("some")
            await new Promise((resolve) => setTimeout(resolve, 2))
            response.cut()
          },
          {},
          ({ pool, url }) =>
            Effect.gen(function* () {
              const response = yield* HttpClient.get(url)
              assert.strictEqual((yield* Effect.flip(response.text)).reason._tag, "DecodeError")
              yield* atRest(pool)
            })
        )
      )

      it.live("end with the scope of an unread response", () =>
        withServer(oracle, protocol, stalled, { maxSizePerOrigin: 1 }, ({ pool, url }) =>
          Effect.gen(function* () {
            const client = HttpClient.withScope(yield* HttpClient.HttpClient)
            for (let i = 0; i < 3; i++) {
              const response = yield* Effect.scoped(client.get(url))
              yield* atRest(pool)
              assert.strictEqual(response.status, 200)
            }
          })
        )
      )

      it.live("end when 200 responses are forgotten unread", () => forgetUnread(oracle, protocol, 1))

      it.live("end by collection for those who waited in line, one after another", () =>
        withServer(
          oracle,
          protocol,
          stalled,
          { maxSizePerOrigin: 2, http2: { maxConcurrentStreams: 2 } },
          ({ pool, url }) =>
            Effect.gen(function* () {
              const forget = Effect.asVoid(Effect.withSpan(HttpClient.get(url), "keeps its result"))
              const requests = yield* Effect.forkChild(
                Effect.replicateEffect(forget, 6, { concurrency: 6, discard: true })
              )
              while (requests.pollUnsafe() === undefined) {
                globalThis.gc!()
                yield* Effect.sleep(1)
              }
              yield* Fiber.join(requests)
              yield* collected(pool)
            })
        )
      )

      it.live("end by collection while others wait for the connection", () =>
        withServer(
          oracle,
          protocol,
          ({ path, ...request }, response) =>
            path === "/" ? stalled({ path, ...request }, response) : say("ok")({ path, ...request }, response),
          { maxSizePerOrigin: 1, http2: { maxConcurrentStreams: 1 } },
          ({ url }) =>
            Effect.gen(function* () {
              yield* Fiber.join(yield* Effect.forkChild(Effect.asVoid(HttpClient.get(url))))
              const waiting = yield* Effect.forkChild(Effect.flatMap(HttpClient.get(`${url}/ok`), (_) => _.text))
              const collecting = yield* Effect.forkChild(
                Effect.forever(
                  Effect.andThen(
                    Effect.sync(() => globalThis.gc!()),
                    Effect.sleep(2)
                  )
                )
              )
              assert.strictEqual(yield* Effect.timeout(Fiber.join(waiting), "10 seconds"), "ok")
              yield* Fiber.interrupt(collecting)
            })
        )
      )
    })

    describe("interruption", () => {
      const upload = HttpBody.stream(
        Stream.mapEffect(Stream.fromIterable(["a", "b", "c"]), (text) => Effect.as(Effect.yieldNow, Buffer.from(text)))
      )
      const requests: Record<string, (url: string) => Effect.Effect<unknown, unknown, HttpClient.HttpClient>> = {
        "a request whose body is read": (url) => Effect.flatMap(HttpClient.get(url), (_) => _.text),
        "a request whose body is streamed": (url) =>
          Effect.flatMap(HttpClient.get(url), (response) => Stream.runDrain(response.stream)),
        "an upload": (url) => Effect.flatMap(HttpClient.post(url, { body: upload }), (_) => _.json),
        "a request in a scope": (url) =>
          Effect.scoped(
            Effect.flatMap(HttpClient.HttpClient, (client) =>
              Effect.flatMap(HttpClient.withScope(client).get(url), (_) => _.text)
            )
          )
      }
      for (const [name, request] of Object.entries(requests)) {
        it.live(`leaves nothing of ${name}, at any time`, () =>
          withServer(oracle, protocol, inPieces, { maxSizePerOrigin: 2 }, ({ pool, url }) =>
            Effect.gen(function* () {
              for (const ops of [3, 11, 2048]) {
                for (let turns = 0; turns < 24; turns++) {
                  const fiber = yield* Effect.forkChild(
                    Effect.provideService(request(url), Scheduler.MaxOpsBeforeYield, ops)
                  )
                  for (let turn = 0; turn < turns; turn++) yield* turns % 2 === 0 ? nextTurn : Effect.yieldNow
                  const started = performance.now()
                  yield* Fiber.interrupt(fiber)
                  assert.isBelow(performance.now() - started, 200)
                  // Not all at once: what came back may be in use again while something still ends.
                  if (turns % 3 === 0) yield* atRest(pool)
                }
                yield* atRest(pool)
              }
              assert.strictEqual(yield* Effect.flatMap(HttpClient.get(url), (_) => _.text), "[1,2,3]")
              yield* atRest(pool)
            })
          )
        )
      }
    })
  })
}

describe("PooledHttpClient", () => {
  it.effect("releases at once what was acquired by a request that then fails or is interrupted", () =>
    Effect.gen(function* () {
      const released: Array<string> = []
      const acquire = (name: string) => Effect.addFinalizer(() => Effect.sync(() => released.push(name)))
      const { signal } = new AbortController()
      yield* Effect.exit(untilAborted(Effect.andThen(acquire("failed"), Effect.fail("no")), signal))
      assert.deepStrictEqual(released, ["failed"])
      const fiber = yield* Effect.forkChild(
        untilAborted(Effect.andThen(acquire("interrupted"), Effect.never), signal),
        {
          startImmediately: true
        }
      )
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(released, ["failed", "interrupted"])
    })
  )

  it.effect("keeps nothing of a request on a signal that lives on, once nothing is left to release", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const { signal } = controller
      const listeners = () => getEventListeners(signal, "abort").length
      yield* untilAborted(Effect.void, signal)
      yield* Effect.exit(untilAborted(Effect.fail("no"), signal))
      assert.strictEqual(listeners(), 0)
      let released = 0
      yield* untilAborted(
        Effect.addFinalizer(() => Effect.sync(() => released++)),
        signal
      )
      assert.deepStrictEqual([listeners(), released], [1, 0])
      controller.abort()
      assert.deepStrictEqual([listeners(), released], [0, 1])
    })
  )

  it.effect("fails with the reason of a signal that has aborted or aborts, and releases", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      let acquired = 0
      let released = 0
      const acquire = Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => acquired++),
          () => Effect.sync(() => released++)
        ),
        Effect.never
      )
      const fiber = yield* Effect.forkChild(Effect.flip(untilAborted(acquire, controller.signal)), {
        startImmediately: true
      })
      controller.abort("enough")
      assert.strictEqual(yield* Fiber.join(fiber), "enough")
      assert.strictEqual(yield* Effect.flip(untilAborted(acquire, controller.signal)), "enough")
      // Nothing is acquired for a signal that has aborted.
      assert.deepStrictEqual([acquired, released], [1, 1])
    })
  )
})
