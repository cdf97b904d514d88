/** Answers of random bytes, and requests of random strings. */
import { assert } from "@effect/vitest"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import type { LeakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, post, times } from "./client.ts"
import type { FaultServer } from "./faultServer.ts"
import { answer, cut, delay, ended, fin, type Http1Scenario, type Script, type Step, text } from "./http1Script.ts"

type Server = Pick<FaultServer<Http1Scenario>, "listen">

/** Runs a property for so long. fast-check prints the seed of a failure. */
const check = <A, E>(arbitrary: fc.Arbitrary<A>, millis: number, run: (value: A) => Effect.Effect<void, E>) =>
  Effect.promise(async () => {
    let runs = 0
    const property = fc.asyncProperty(arbitrary, async (value) => {
      runs++
      await Effect.runPromise(run(value))
    })
    // Not fast-check's own time limit, which leaves the last run to itself.
    const until = performance.now() + millis
    while (performance.now() < until) await fc.assert(property, { numRuns: 10 })
    return runs
  })

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

const wholeAnswers = [
  "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx: y\r\n\r\nbody",
  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.0 200 OK\r\n\r\nbody"
]

const shards = [..."\r \n\0:;,/\t0129afx\xff"].concat(
  ["\r\n", "\r\n\r\n", "HTTP/1.1 ", "HTTP/1.0 ", "200", "204", "304", "100", "101", " OK", ": ", "content-length"],
  ["transfer-encoding", "chunked", "connection", "close", "keep-alive", "timeout=9", "0\r\n\r\n", "4\r\nbody\r\n"]
)

const shard = fc.constantFrom(...shards)

/** Replaces parts of an answer that is right. */
const mutated = fc
  .tuple(
    fc.constantFrom(...wholeAnswers),
    fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(3), shard), { minLength: 1, maxLength: 3 })
  )
  .map(([whole, edits]) =>
    edits.reduce((found, [where, length, insert]) => {
      const at = Math.floor(where * found.length)
      return found.slice(0, at) + insert + found.slice(at + length)
    }, whole)
  )

const bytes = fc.oneof(
  { weight: 4, arbitrary: mutated },
  { weight: 2, arbitrary: fc.array(shard, { maxLength: 20 }).map((parts) => parts.join("")) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((found) => Buffer.from(found).toString("latin1")) }
)

const answers = fc.record({
  bytes,
  cut: fc.double({ min: 0, max: 1, noNaN: true }),
  end: fc.constantFrom<ReadonlyArray<Step>>([fin], [cut], [delay(1), fin], []),
  method: fc.constantFrom("GET", "POST")
})

const expected: ReadonlySet<string> = new Set(["ConnectionLost", "InvalidResponse", "ResponseTimeout"])

/** The timeouts are short; on a busy machine the server may take longer to do what it should. */
const isLate = (error: unknown): boolean => error instanceof HttpError && error.reason._tag === "ResponseTimeout"

/** Whatever comes: the request settles, no body is cut short, and the next request has its own answer. */
export const randomAnswers = (oracle: LeakOracle, server: Server, millis: number) =>
  check(answers, millis, ({ bytes, cut, end, method }) =>
    Effect.gen(function* () {
      const at = Math.floor(cut * bytes.length)
      const script: Script = [ended, text(bytes.slice(0, at)), delay(1), text(bytes.slice(at)), ...end]
      const target = yield* server.listen({ requests: { case: script } })
      const pool = yield* http1Pool(oracle, target, {
        http1: { headersTimeout: 200, bodyTimeout: 200 }
      })
      const request = method === "GET" ? get("/case/1") : post("/case/1")
      const result = yield* Effect.result(fetch(pool, request))
      if (result._tag === "Success") {
        const { headers, size, status } = result.success
        const length = headers["content-length"]
        if (length !== undefined && status !== 204 && status !== 304) {
          assert.strictEqual(size, Number(length))
        }
      } else {
        assert.strictEqual(result.failure._tag, "HttpError")
        assert.isTrue(expected.has((result.failure as HttpError).reason._tag), String(result.failure))
      }
      const after = Effect.retry(fetch(pool, get("/after")), { times: 3, while: isLate })
      assert.strictEqual((yield* after).text, "/after")
      yield* target.sync
      assert.strictEqual(times(target, "/case/1"), 1)
    }).pipe(Effect.scoped)
  )

// -----------------------------------------------------------------------------
// Requests
// -----------------------------------------------------------------------------

const strings = fc.oneof(
  fc.string({
    unit: fc.constantFrom(
      "\r",
      "\n",
      "\0",
      " ",
      ":",
      "a",
      "/",
      "\t",
      "é",
      "\u{10a}",
      "\u{10d}",
      "\u{1f600}",
      "HTTP/1.1"
    ),
    maxLength: 12
  }),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", "a\r\ncontent-length: 5")
)

const mostly = (usual: ReadonlyArray<string>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...usual) }, { weight: 1, arbitrary: strings })

const names = mostly(["x", "x-y", "accept", "content-length", "transfer-encoding", "host", "connection", "keep-alive"])
const values = mostly(["", "0", "4", "chunked", "a b", "a, b", "\xe9", "close", "example.test:80"])

const requests: fc.Arbitrary<HttpConnection.HttpRequest> = fc.record({
  method: mostly(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"]),
  path: mostly(["/", "/a?b=c", "/%0d%0a", "*", "//a/..", "http://a.test/"]),
  headers: fc.dictionary(names, fc.oneof(values, fc.array(values, { maxLength: 3 })), { maxKeys: 2 }),
  body: fc.option(strings, { nil: undefined })
})

/** Whatever is asked for: it is refused with nothing sent, or the server reads one request, as it was meant. */
export const randomRequests = (oracle: LeakOracle, server: Server, millis: number) =>
  Effect.gen(function* () {
    let accepted = 0
    const runs = yield* check(requests, millis, (request) =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { "*": [ended, answer("ok")] } })
        const pool = yield* http1Pool(oracle, target)
        yield* fetch(pool, get("/before"))
        const result = yield* Effect.result(fetch(pool, request))
        yield* fetch(pool, get("/after"))
        yield* target.sync
        const seen = target.facts("request").map(({ method, path }) => `${method} ${path}`)
        const wanted = result._tag === "Success" ? [`${request.method} ${request.path}`] : []
        assert.deepStrictEqual(seen, ["GET /before", ...wanted, "GET /after"])
        assert.strictEqual(target.count("invalid"), 0)
        if (result._tag === "Success") {
          accepted++
          const sent = target.facts("end")[1]?.body
          assert.strictEqual(sent, Buffer.from(String(request.body ?? "")).toString("latin1"))
        } else {
          const error = result.failure as HttpError
          assert.deepInclude(error, { sent: "none" })
          assert.strictEqual(error.reason._tag, "InvalidRequest")
          assert.strictEqual(target.count("open"), 1)
        }
      }).pipe(Effect.scoped)
    )
    // A property that refuses everything says nothing.
    assert.isAbove(accepted, runs / 20)
  })
