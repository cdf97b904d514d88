import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { HttpBody, HttpClient, HttpClientResponse } from "effect/http"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { forEachClient, type Handler, say } from "./lab.ts"

const until = (done: () => boolean) =>
  Effect.gen(function* () {
    while (!done()) yield* Effect.sleep(1)
  }).pipe(Effect.timeout("2 seconds"))

/** Starts a body that never ends, and tells when the client has left. */
const endless = () => {
  let open = 0
  const handler: Handler = async ({ closed }, response) => {
    open++
    response.head(200)
    response.write("some")
    await closed
    open--
  }
  /** Waits until no client listens any more. */
  const left = until(() => open === 0)
  return { handler, left, open: () => open }
}

/** A body in two halves, the second one when the test says so. */
const halves = () => {
  const more = Promise.withResolvers<void>()
  const handler: Handler = async (_, response) => {
    response.head(200)
    response.write("first ")
    await more.promise
    response.end("second")
  }
  return { handler, more: Effect.sync(() => more.resolve()) }
}

/** Collects garbage until `done`. */
const collectUntil = (done: () => boolean) =>
  Effect.gen(function* () {
    while (!done()) {
      globalThis.gc!()
      yield* Effect.sleep(5)
    }
  }).pipe(Effect.timeout("5 seconds"))

forEachClient("lifetimes of responses", ({ talk }) => {
  it.live("lets a body be read after the request's effect and its scope have ended", () => {
    const { handler, more } = halves()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* Effect.scoped(HttpClient.get(url))
        yield* Effect.sleep(5)
        const reader = yield* Effect.forkChild(response.text)
        yield* Effect.sleep(5)
        yield* more
        assert.strictEqual(yield* Fiber.join(reader), "first second")
      })
    )
  })

  it.live("lets another fiber read than the one that asked, which may have ended", () => {
    const { handler, more } = halves()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* Fiber.join(yield* Effect.forkChild(HttpClient.get(url)))
        yield* more
        assert.strictEqual(yield* response.text, "first second")
      })
    )
  })

  it.live("tells the server when a request is interrupted", () => {
    let open = 0
    return talk(
      async ({ closed }) => {
        open++
        await closed
        open--
      },
      ({ url }) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(HttpClient.get(url))
          yield* until(() => open === 1)
          const started = performance.now()
          yield* Fiber.interrupt(fiber)
          assert.isBelow(performance.now() - started, 100)
          yield* until(() => open === 0)
        })
    )
  })

  it.live("tells the server when reading is interrupted, however the body is read", () => {
    const { handler, left } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const ways = [
          (response: HttpClientResponse.HttpClientResponse) => response.text,
          (response: HttpClientResponse.HttpClientResponse) => response.json,
          (response: HttpClientResponse.HttpClientResponse) => response.arrayBuffer,
          (response: HttpClientResponse.HttpClientResponse) => response.formData,
          (response: HttpClientResponse.HttpClientResponse) => Stream.runDrain(response.stream)
        ]
        for (const way of ways) {
          const response = yield* HttpClient.get(url)
          const fiber = yield* Effect.forkChild(way(response) as Effect.Effect<unknown, unknown>)
          yield* Effect.sleep(2)
          const started = performance.now()
          yield* Fiber.interrupt(fiber)
          assert.isBelow(performance.now() - started, 100)
          yield* left
        }
      })
    )
  })

  it.live("is a DecodeError when a body is read again whose reading was interrupted", () => {
    const { handler, left } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        yield* Effect.flip(Effect.timeout(response.text, "5 millis"))
        yield* left
        assert.strictEqual((yield* Effect.flip(response.text)).reason._tag, "DecodeError")
      })
    )
  })

  it.live("leaves the server when a stream ends before the body", () => {
    const { handler, left } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const stream = HttpClientResponse.stream(HttpClient.get(url))
        const first = yield* Stream.runHead(Stream.decodeText(stream))
        assert.deepInclude(first, { value: "some" })
        yield* left
      })
    )
  })

  it.live("leaves the server when the consumer of a stream fails", () => {
    const { handler, left } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const stream = HttpClientResponse.stream(HttpClient.get(url))
        assert.strictEqual(yield* Effect.flip(Stream.runForEach(stream, () => Effect.fail("enough"))), "enough")
        yield* left
      })
    )
  })

  it.live("leaves the server when the scope of a request closes, read or unread", () => {
    const { handler, left, open } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.withScope(yield* HttpClient.HttpClient)
        const unread = yield* Effect.scoped(client.get(url))
        yield* left
        assert.strictEqual((yield* Effect.flip(unread.text)).reason._tag, "DecodeError")
        const reading = yield* Effect.scoped(
          Effect.gen(function* () {
            const response = yield* client.get(url)
            const fiber = yield* Effect.forkDetach(Effect.exit(response.text))
            yield* Effect.sleep(5)
            assert.strictEqual(open(), 1)
            return fiber
          })
        )
        yield* left
        assert.isTrue(Exit.isFailure(yield* Fiber.join(reading)))
      })
    )
  })

  it.live("fails a request whose scope closes before there is a response", () =>
    talk(
      () => {},
      ({ url }) =>
        Effect.gen(function* () {
          const client = HttpClient.withScope(yield* HttpClient.HttpClient)
          const scope = yield* Scope.make()
          const fiber = yield* Effect.forkChild(Effect.flip(Scope.provide(client.get(url), scope)))
          yield* Effect.sleep(10)
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "TransportError")
        })
    )
  )

  it.live("lets a body be read while its scope is open", () => {
    const { handler, more } = halves()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.withScope(yield* HttpClient.HttpClient)
        const text = yield* Effect.scoped(
          Effect.gen(function* () {
            const response = yield* client.get(url)
            yield* more
            return yield* response.text
          })
        )
        assert.strictEqual(text, "first second")
      })
    )
  })

  it.live("leaves the server when nobody can read a response any more", () => {
    const { handler, open } = endless()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        // In a fiber of its own, whose memory goes with it.
        for (let i = 0; i < 5; i++) yield* Fiber.join(yield* Effect.forkChild(Effect.asVoid(HttpClient.get(url))))
        assert.strictEqual(open(), 5)
        yield* collectUntil(() => open() === 0)
      })
    )
  })

  it.live("keeps a response that somebody can still read", () => {
    const { handler, more } = halves()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        let rounds = 0
        yield* collectUntil(() => ++rounds > 5)
        yield* more
        assert.strictEqual(yield* response.text, "first second")
      })
    )
  })

  it.live("keeps a body that is being read from a response that is not kept", () => {
    const { handler, more } = halves()
    return talk(handler, ({ url }) =>
      Effect.gen(function* () {
        const text = yield* Effect.forkChild(
          Stream.mkString(Stream.decodeText(HttpClientResponse.stream(HttpClient.get(url))))
        )
        const whole = yield* Effect.forkChild(Effect.flatMap(HttpClient.get(url), (response) => response.text))
        let rounds = 0
        yield* collectUntil(() => ++rounds > 5)
        yield* more
        assert.strictEqual(yield* Fiber.join(text), "first second")
        assert.strictEqual(yield* Fiber.join(whole), "first second")
      })
    )
  })

  it.live("reads a small body that came before it was asked for", () =>
    talk(say("small"), ({ url }) =>
      Effect.gen(function* () {
        const responses = yield* Effect.forEach([1, 2, 3], () => HttpClient.get(url))
        yield* Effect.sleep(10)
        for (const response of responses) assert.strictEqual(yield* response.text, "small")
      })
    )
  )

  it.live("does not wait for an upload that the server does not read before it gives the answer", () =>
    talk(
      (_, response) => {
        response.head(413)
        response.end("too large")
      },
      ({ url }) =>
        Effect.gen(function* () {
          const stopped = yield* Deferred.make<void>()
          const upload = Stream.concat(Stream.succeed(Buffer.from("some")), Stream.never).pipe(
            Stream.ensuring(Deferred.succeed(stopped, undefined))
          )
          const response = yield* HttpClient.post(url, { body: HttpBody.stream(upload) })
          assert.strictEqual(response.status, 413)
          assert.strictEqual(yield* response.text, "too large")
          yield* Effect.timeout(Deferred.await(stopped), "2 seconds")
        })
    )
  )
})
