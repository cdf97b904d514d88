import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import type * as Socket from "effect/socket/Socket"
import type * as Net from "node:net"
import type { Request } from "../servers.ts"
import { forEachClient } from "./lab.ts"

const switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n"

/** Greets, then answers in capitals. */
const shout = (_: Request, socket: Net.Socket) => {
  socket.removeAllListeners("data")
  socket.on("data", (chunk) => socket.write(chunk.toString().toUpperCase())).on("end", () => socket.end())
  socket.write(`${switched}hello `)
}

const ask = (url: string) => HttpClientRequest.upgrade(HttpClientRequest.get(`${url}/path?a=1`), "shout")

/** Reads until so many characters came. */
const read = (reader: Socket.Reader, length: number) =>
  Effect.gen(function* () {
    let text = ""
    while (text.length < length)
      for (const chunk of yield* reader.pull) text += Buffer.from(chunk as Uint8Array).toString()
    return text
  })

const closed = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) resume(Effect.void)
    else socket.once("close", () => resume(Effect.void))
  })

forEachClient("upgrades", ({ talkRaw }) => {
  it.live("hands over the connection, with what came after the head", () =>
    talkRaw(shout, ({ peer, url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.execute(ask(url))
        assert.strictEqual(response.status, 101)
        assert.strictEqual(response.headers["upgrade"], "shout")
        assert.strictEqual(response.url, `${url}/path?a=1`)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const socket = yield* response.upgrade
            const reader = yield* socket.reader
            const writer = yield* socket.writer
            yield* writer.write("loud")
            assert.strictEqual(yield* read(reader, 10), "hello LOUD")
            yield* writer.write(Buffer.from("er"))
            assert.strictEqual(yield* read(reader, 2), "ER")
          })
        )
        // Releasing the reader closes the connection.
        yield* closed(yield* peer)
      })
    )
  )

  it.live("sends what was asked for, and a body too", () => {
    const seen: Array<Request> = []
    return talkRaw(
      (request, socket) => {
        seen.push(request)
        shout(request, socket)
      },
      ({ url }) =>
        Effect.gen(function* () {
          const slow = Stream.tap(Stream.succeed(Buffer.from("slow")), () => Effect.sleep(1))
          for (const body of [HttpBody.empty, HttpBody.text("body"), HttpBody.stream(slow)]) {
            const request = HttpClientRequest.upgrade(
              HttpClientRequest.post(url, { body, headers: { "x-a": "1" } }),
              "shout"
            )
            const socket = yield* Effect.flatMap(HttpClient.execute(request), (response) => response.upgrade)
            yield* Effect.scoped(socket.reader)
          }
          for (const { headers, method } of seen) {
            assert.strictEqual(method, "POST")
            assert.strictEqual(headers["connection"]?.toLowerCase(), "upgrade")
            assert.strictEqual(headers["upgrade"], "shout")
            assert.strictEqual(headers["x-a"], "1")
            assert.strictEqual(headers["host"], new URL(url).host)
          }
          assert.deepStrictEqual(
            seen.map(({ body, headers }) => [body, headers["content-length"]]),
            [
              ["", "0"],
              ["body", "4"],
              ["slow", undefined]
            ]
          )
        })
    )
  })

  it.live("reads a refusal like any response, and has no connection to hand over", () =>
    talkRaw(
      (_, socket) => void socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nset-cookie: a=1\r\n\r\nno"),
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.execute(ask(url))
          assert.strictEqual(response.status, 403)
          assert.strictEqual(response.cookies.cookies["a"]?.value, "1")
          const error = yield* Effect.flip(response.upgrade)
          assert.strictEqual(error.reason._tag, "StatusCodeError")
          assert.strictEqual(yield* response.text, "no")
        })
    )
  )

  it.live("is a DecodeError when a refusal's body ends early", () =>
    talkRaw(
      (_, socket) => void socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nno"),
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.execute(ask(url))
          assert.strictEqual((yield* Effect.flip(response.text)).reason._tag, "DecodeError")
        })
    )
  )

  it.live("has no connection to hand over where none was asked for", () =>
    talkRaw(
      (_, socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get(url)
          assert.strictEqual((yield* Effect.flip(response.upgrade)).reason._tag, "StatusCodeError")
        })
    )
  )

  it.live("is a TransportError when the server hangs up, cannot be reached, or the request's body fails", () =>
    talkRaw(
      (_, socket) => void socket.end(),
      ({ url }) =>
        Effect.gen(function* () {
          const body = HttpBody.stream(Stream.fail("spoiled"))
          const spoiled = HttpClientRequest.upgrade(HttpClientRequest.post(url, { body }), "shout")
          assert.strictEqual((yield* Effect.flip(HttpClient.execute(spoiled))).reason._tag, "TransportError")
          assert.strictEqual((yield* Effect.flip(HttpClient.execute(ask(url)))).reason._tag, "TransportError")
          const nowhere = yield* Effect.flip(HttpClient.execute(ask("http://nobody.invalid")))
          assert.strictEqual(nowhere.reason._tag, "TransportError")
        })
    )
  )

  it.live("closes the connection when the request is interrupted", () =>
    talkRaw(
      () => {},
      ({ peer, url }) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(Effect.timeout(HttpClient.execute(ask(url)), "20 millis"))
          assert.strictEqual(error._tag, "TimeoutError")
          yield* closed(yield* peer)
        })
    )
  )

  it.live("closes the connection with the scope of the request", () =>
    talkRaw(shout, ({ peer, url }) =>
      Effect.gen(function* () {
        const done = yield* Deferred.make<void>()
        yield* Effect.scoped(
          Effect.gen(function* () {
            const client = HttpClient.withScope(yield* HttpClient.HttpClient)
            const socket = yield* Effect.flatMap(client.execute(ask(url)), (response) => response.upgrade)
            yield* Effect.forkDetach(
              Effect.ensuring(
                Effect.scoped(Effect.flatMap(socket.reader, (reader) => Effect.forever(reader.pull))),
                Deferred.succeed(done, undefined)
              )
            )
            yield* Effect.sleep(5)
          })
        )
        yield* closed(yield* peer)
        yield* Deferred.await(done)
      })
    )
  )
})
