import { assert, describe, it } from "@effect/vitest"
import type { HttpConnection, HttpRequest as Request } from "@poolkit/http/HttpConnection"
import { ConnectionLost, HttpError, InvalidRequest, RequestRefused } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as CachePool from "@poolkit/pool/CachePool"
import * as MapPool from "@poolkit/pool/MapPool"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { get } from "./http1.ts"

type Step = "ok" | "unsent" | "refused" | "leaving" | "lost" | "answering" | "invalid"

const errors: Record<Exclude<Step, "ok">, Pick<HttpError, "reason" | "responseStarted" | "sent">> = {
  unsent: { reason: new ConnectionLost({ code: "CLOSED_WHILE_IDLE" }), sent: "none", responseStarted: false },
  refused: {
    reason: new RequestRefused({ code: "REFUSED_STREAM", graceful: false }),
    sent: "none",
    responseStarted: false
  },
  leaving: { reason: new RequestRefused({ code: "GOAWAY", graceful: true }), sent: "none", responseStarted: false },
  lost: { reason: new ConnectionLost({ code: "ECONNRESET" }), sent: "maybe", responseStarted: false },
  answering: { reason: new ConnectionLost({ code: "ECONNRESET" }), sent: "maybe", responseStarted: true },
  invalid: { reason: new InvalidRequest({ detail: "no" }), sent: "none", responseStarted: false }
}

const response = {
  status: 200,
  headers: {},
  discard: Effect.void
} as unknown as Effect.Success<ReturnType<HttpConnection["send"]>["response"]>

/**
 * Makes a request over a pool whose connection was lent before, unless it is
 * to be fresh, and whose exchanges end as `steps` say.
 */
const run = (
  steps: ReadonlyArray<Step>,
  options: {
    readonly fresh?: boolean
    readonly request?: Request
    readonly protocol?: string
    readonly idle?: number
  } = {}
) =>
  Effect.gen(function* () {
    let sent = 0
    const connection: HttpConnection = {
      protocol: options.protocol ?? "http/1.1",
      concurrency: () => 1,
      isOpen: () => true,
      watch: () => () => {},
      send: ({ method }, _, onEnd) => {
        const step = steps[sent++] ?? "ok"
        onEnd?.()
        return {
          cancel: () => {},
          response:
            step === "ok"
              ? Effect.succeed(response)
              : Effect.fail(new HttpError({ method, authority: "a.test", ...errors[step] }))
        }
      }
    }
    const { fresh = false, idle = fresh ? 0 : 1 } = options
    const pool = yield* CachePool.make({ connect: () => Effect.succeed(connection), maxSize: Math.max(1, idle) })
    yield* Effect.scoped(Effect.replicateEffect(pool.get(), idle))
    const before = (yield* pool.stats).created
    const result = yield* Effect.result(HttpRequest.execute(pool, options.request ?? get()))
    assert.deepInclude(yield* pool.stats, { used: 0, borrowers: 0 })
    const { closed, created } = yield* pool.stats
    return {
      ok: result._tag === "Success",
      sent,
      ...(options.idle !== undefined && { closed, opened: created - before })
    }
  }).pipe(Effect.scoped)

describe("HttpRequest", () => {
  it.effect("execute gives back whatever a stack of pools holds for a loan", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const connection: HttpConnection = {
        protocol: "test",
        concurrency: () => 1,
        isOpen: () => true,
        watch: () => () => {},
        send: (_, __, onEnd) => {
          onEnd?.()
          return { cancel: () => {}, response: Effect.succeed(response) }
        }
      }
      const inner = yield* CachePool.make({ connect: () => Effect.succeed(connection) })
      const outer: typeof inner = Object.assign(Object.create(inner), {
        lease: () =>
          Effect.tap(inner.lease(), () => Effect.addFinalizer(() => Effect.sync(() => events.push("returned"))))
      })
      yield* HttpRequest.execute(outer, get())
      assert.deepStrictEqual(events, ["returned"])
      assert.strictEqual((yield* inner.stats).borrowers, 0)
    })
  )

  it.effect("execute tries again with the same target of a keyed pool", () =>
    Effect.gen(function* () {
      const sent: Array<string> = []
      const connect = (target: string): HttpConnection => ({
        protocol: "http/1.1",
        concurrency: () => 1,
        isOpen: () => true,
        watch: () => () => {},
        send: ({ method, path }, _, onEnd) => {
          sent.push(`${target}${path}`)
          onEnd?.()
          const failed = sent.length === 1
          return {
            cancel: () => {},
            response: failed
              ? Effect.fail(new HttpError({ method, authority: target, ...errors.lost }))
              : Effect.succeed(response)
          }
        }
      })
      const pool = yield* MapPool.make({
        key: (target: string) => target,
        pool: (target) => CachePool.make({ connect: () => Effect.succeed(connect(target)) })
      })
      for (const target of ["a", "b"]) yield* pool.use(target, () => Effect.void)
      yield* HttpRequest.execute(pool, "a", get("/1"))
      yield* HttpRequest.execute(pool, "b", get("/2"))
      assert.deepStrictEqual(sent, ["a/1", "a/1", "b/2"])
      assert.deepInclude(yield* pool.stats, { used: 0, borrowers: 0 })
    })
  )

  describe("execute tries again", () => {
    it.effect("as long as nothing was written to reused connections, six times at most", () =>
      Effect.gen(function* () {
        const unsent = (n: number): ReadonlyArray<Step> => Array.from({ length: n }, () => "unsent")
        const post: Request = { method: "POST", path: "/" }
        assert.deepStrictEqual(yield* run(unsent(6), { request: post }), { ok: true, sent: 7 })
        assert.deepStrictEqual(yield* run(unsent(7), { request: post }), { ok: false, sent: 7 })
      })
    )

    it.effect("once after a loss, however often it moved on before", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run(["lost"]), { ok: true, sent: 2 })
        assert.deepStrictEqual(yield* run(["unsent", "unsent", "lost"]), { ok: true, sent: 4 })
        assert.deepStrictEqual(yield* run(["lost", "unsent", "unsent"]), { ok: true, sent: 4 })
        assert.deepStrictEqual(yield* run(["lost", "lost"]), { ok: false, sent: 2 })
        assert.deepStrictEqual(yield* run(["lost", "unsent", "lost"]), { ok: false, sent: 3 })
      })
    )

    it.effect("on a new connection after a loss, because the other idle ones may be as stale", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run(["lost"], { idle: 4 }), { ok: true, sent: 2, closed: 4, opened: 1 })
        // So many are given up for it at most.
        assert.deepStrictEqual(yield* run(["lost"], { idle: 40 }), { ok: true, sent: 2, closed: 32, opened: 0 })
        const h2 = { idle: 4, protocol: "h2" }
        assert.deepStrictEqual(yield* run(["refused"], h2), { ok: true, sent: 2, closed: 0, opened: 0 })
        assert.deepStrictEqual(yield* run(["unsent"], { idle: 4 }), { ok: true, sent: 2, closed: 0, opened: 0 })
      })
    )

    it.effect("once on a fresh connection if nothing was written, else never", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run(["unsent"], { fresh: true }), { ok: true, sent: 2 })
        assert.deepStrictEqual(yield* run(["lost"], { fresh: true }), { ok: false, sent: 1 })
      })
    )

    it.effect("once after a refusal, on a fresh connection too, and not with a stream that may have been read", () =>
      Effect.gen(function* () {
        for (const fresh of [true, false]) {
          const post: Request = { method: "POST", path: "/", body: "once" }
          assert.deepStrictEqual(yield* run(["refused"], { fresh, request: post }), { ok: true, sent: 2 })
          assert.deepStrictEqual(yield* run(["refused", "refused"], { fresh }), { ok: false, sent: 2 })
          const stream: Request = { method: "POST", path: "/", body: Stream.make(new Uint8Array(1)) }
          assert.deepStrictEqual(yield* run(["refused"], { fresh, request: stream }), { ok: false, sent: 1 })
          assert.deepStrictEqual(yield* run(["unsent"], { fresh, request: stream }), { ok: true, sent: 2 })
        }
      })
    )

    it.effect("while servers go away gracefully without acting on it, 21 times at most", () =>
      Effect.gen(function* () {
        const leaving = (n: number): ReadonlyArray<Step> => Array.from({ length: n }, () => "leaving")
        for (const fresh of [true, false]) {
          const post: Request = { method: "POST", path: "/", body: "once" }
          assert.deepStrictEqual(yield* run(leaving(21), { fresh, request: post }), { ok: true, sent: 22 })
          assert.deepStrictEqual(yield* run(leaving(22), { fresh, request: post }), { ok: false, sent: 22 })
          const stream: Request = { method: "POST", path: "/", body: Stream.make(new Uint8Array(1)) }
          assert.deepStrictEqual(yield* run(leaving(1), { fresh, request: stream }), { ok: false, sent: 1 })
        }
      })
    )

    it.effect("after a loss only on HTTP/1.1, because HTTP/2 says what it did not act on", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run(["lost"], { protocol: "h2" }), { ok: false, sent: 1 })
        assert.deepStrictEqual(yield* run(["refused", "unsent"], { protocol: "h2" }), { ok: true, sent: 3 })
      })
    )

    it.effect("never once an answer had started, nor with a request that is not valid", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* run(["answering"]), { ok: false, sent: 1 })
        assert.deepStrictEqual(yield* run(["invalid"]), { ok: false, sent: 1 })
      })
    )
  })
})
