import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { HttpClient, type HttpClientError, type HttpClientResponse } from "effect/http"
import * as Stream from "effect/Stream"
import { forEachClient, type Handler, say } from "./lab.ts"

/** The reason that reading fails with. */
const unreadable = <A>(
  response: HttpClientResponse.HttpClientResponse,
  read: Effect.Effect<A, HttpClientError.HttpClientError>
) =>
  Effect.map(Effect.flip(read), (error) => {
    assert.strictEqual(error.response?.status, response.status)
    assert.isDefined(error.cause)
    return error.reason._tag
  })

const cutShort: Handler = async (_, response) => {
  response.head(200, { "content-length": "1000" })
  response.write("some")
  await new Promise((resolve) => setTimeout(resolve, 5))
  response.cut()
}

forEachClient("errors of bodies", ({ pooled, protocol, talk, talkRaw }) => {
  it.live("is a DecodeError when the body ends early, however it is read", () =>
    talk(cutShort, ({ url }) =>
      Effect.gen(function* () {
        const ways = ["text", "json", "arrayBuffer", "urlParamsBody", "formData"] as const
        for (const way of ways) {
          const response = yield* HttpClient.get(url)
          assert.strictEqual(yield* unreadable<unknown>(response, response[way]), "DecodeError")
        }
        const response = yield* HttpClient.get(url)
        assert.strictEqual(yield* unreadable(response, Stream.runDrain(response.stream)), "DecodeError")
      })
    )
  )

  it.live("gives what came of a body before it fails", () =>
    talk(cutShort, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        let text = ""
        const read = Stream.runForEach(Stream.decodeText(response.stream), (part) =>
          Effect.sync(() => void (text += part))
        )
        assert.strictEqual(yield* unreadable(response, read), "DecodeError")
        assert.strictEqual(text, "some")
      })
    )
  )

  it.live("stays a DecodeError when a body that failed is read again", () =>
    talk(cutShort, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        assert.strictEqual(yield* unreadable(response, response.text), "DecodeError")
        assert.strictEqual(yield* unreadable(response, response.text), "DecodeError")
        assert.strictEqual(yield* unreadable(response, response.json), "DecodeError")
      })
    )
  )

  it.live("is a DecodeError when the body is not what was asked for", () =>
    talk(say("no json"), ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        assert.strictEqual(yield* unreadable(response, response.json), "DecodeError")
        assert.strictEqual(yield* response.text, "no json")
        assert.strictEqual(yield* unreadable(response, response.formData), "DecodeError")
      })
    )
  )

  // undici streams nothing, as if the body were empty; whoever asks would take that for the truth.
  it.live(`${pooled ? "is a DecodeError" : "is empty"} when the stream is asked for after the body was read`, () =>
    talk(say("text"), ({ url }) =>
      Effect.gen(function* () {
        for (const first of ["text", "stream"] as const) {
          const response = yield* HttpClient.get(url)
          yield* first === "text" ? response.text : Stream.runDrain(response.stream)
          const again = Stream.runCount(response.stream)
          if (pooled) assert.strictEqual(yield* unreadable(response, again), "DecodeError")
          else assert.strictEqual(yield* again, 0)
        }
      })
    )
  )

  it.live("is a DecodeError when the text is asked for after the stream", () =>
    talk(say("text"), ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        yield* Stream.runDrain(response.stream)
        assert.strictEqual(yield* unreadable(response, response.text), "DecodeError")
      })
    )
  )

  if (protocol === "http/1.1") {
    it.live("is a DecodeError when a chunked body has no end", () =>
      talkRaw(
        (_, socket) => {
          socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n")
        },
        ({ url }) =>
          Effect.gen(function* () {
            const response = yield* HttpClient.get(url)
            assert.strictEqual(yield* unreadable(response, response.text), "DecodeError")
          })
      )
    )
  }
})
