import { assert, describe, it } from "@effect/vitest"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Flag, type Frame, frame, FrameType, maxStreamId } from "./fault/frames.ts"
import { get, pause, roundTrip } from "./http1.ts"
import { connectTo, data, type FramePeer, frameServer, goaway, head, settingsSeen } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"
import { stall } from "./servers.ts"

const oracle = leakOracle()

const isPing = ({ flags, type }: Frame) => type === FrameType.ping && (flags & Flag.ack) === 0
const pong = (ping: Frame) => frame(FrameType.ping, Flag.ack, 0, ping.payload)

/** Counts requests and PINGs; does with each as told. */
const watched = (
  onRequest: (id: number, peer: FramePeer) => void,
  onPing: (ping: Frame, peer: FramePeer) => void = () => {}
) =>
  Effect.suspend(() => {
    const seen = { requests: 0, pings: 0 }
    return Effect.map(
      frameServer(oracle, (frame, peer) => {
        if (frame.type === FrameType.headers) {
          seen.requests++
          onRequest(frame.stream, peer)
        }
        if (isPing(frame)) {
          seen.pings++
          onPing(frame, peer)
        }
      }),
      (server) => ({ server, seen })
    )
  })

const start = (connection: HttpConnection.HttpConnection) =>
  Effect.forkChild(Effect.flip(roundTrip(connection)), { startImmediately: true })

const lost = { _tag: "ConnectionLost", code: "PING_TIMEOUT" } as const

describe("Http2Connection", () => {
  describe("a server that is gone", () => {
    it.live("is found out while requests wait, all of which fail", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(() => {})
        const { connection, socket } = yield* connectTo(server, { pingInterval: 40, pingTimeout: 40 })
        const signals = { retired: 0 }
        connection.watch({ retire: () => void signals.retired++, capacityChanged: () => {} })
        const fibers = [yield* start(connection), yield* start(connection)]
        for (const fiber of fibers) {
          const error = yield* Fiber.join(fiber)
          assert.deepInclude(error.reason, lost)
          assert.strictEqual(error.sent, "maybe")
        }
        // A second one where the server's first SETTINGS came so late that they looked like an answer.
        assert.oneOf(seen.pings, [1, 2])
        assert.isTrue(socket.destroyed)
        assert.isFalse(connection.isOpen())
        while (signals.retired === 0) yield* Effect.sleep(1)
      })
    )

    it.live("is found out by the first request that was given up, even if no other follows", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(() => {})
        const { connection, socket } = yield* connectTo(server, { pingTimeout: 40 })
        yield* settingsSeen(socket)
        yield* Fiber.interrupt(yield* start(connection))
        assert.isTrue(connection.isOpen())
        while (!socket.destroyed) yield* Effect.sleep(1)
        assert.strictEqual(seen.pings, 1)
        assert.isFalse(connection.isOpen())
      })
    )

    it.live("is asked together with a request that follows a long pause", () =>
      Effect.gen(function* () {
        const clock = yield* TestClock.make()
        const { seen, server } = yield* watched(() => {})
        // What the server says first would count as an answer.
        const connect = Effect.tap(
          Effect.provideService(connectTo(server, { pingTimeout: 40 }), Clock.Clock, clock),
          ({ socket }) => settingsSeen(socket)
        )
        const { connection } = yield* connect
        yield* clock.adjust("60 seconds")
        const early = yield* start(connection)
        yield* Effect.sleep(60)
        assert.strictEqual(seen.pings, 0)
        // Nothing came since, so that giving up asks as well.
        yield* Fiber.interrupt(early)
        assert.isTrue(connection.isOpen())
        const other = yield* connect
        yield* clock.adjust("60001 millis")
        assert.deepInclude((yield* Fiber.join(yield* start(other.connection))).reason, lost)
      })
    )
  })

  describe("a server that is slow", () => {
    it.live("and answers PINGs is waited for", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(
          async (id, { send }) => {
            await pause(200)
            send(head(id), data(id, "late", true))
          },
          (ping, { send }) => send(pong(ping))
        )
        const { connection } = yield* connectTo(server, { pingInterval: 20, pingTimeout: 50 })
        assert.strictEqual((yield* roundTrip(connection)).text, "late")
        assert.isAbove(seen.pings, 1)
      })
    )

    it.live("and sends anything is not asked", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(async (id, { send }) => {
          send(head(id))
          for (let i = 0; i < 20; i++) {
            await pause(10)
            send(data(id, "x"))
          }
          send(data(id, "", true))
        })
        const { connection } = yield* connectTo(server, { pingInterval: 100, pingTimeout: 50 })
        assert.strictEqual((yield* roundTrip(connection)).text.length, 20)
        assert.strictEqual(seen.pings, 0)
      })
    )

    it.live("is not asked where pingInterval is Infinity, and not while the connection is idle", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(async (id, { send }) => {
          await pause(50)
          send(head(id, [], true))
        })
        const off = yield* connectTo(server, { pingInterval: Infinity, pingTimeout: 20 })
        yield* roundTrip(off.connection)
        yield* Fiber.interrupt(yield* start(off.connection))
        yield* Effect.sleep(50)
        assert.isTrue(off.connection.isOpen())
        const idle = yield* connectTo(server, { pingInterval: 100, pingTimeout: 20 })
        yield* roundTrip(idle.connection)
        yield* Effect.sleep(150)
        assert.isTrue(idle.connection.isOpen())
        assert.strictEqual(seen.pings, 0)
      })
    )

    it.live("is not taken for dead by an event loop that stalled", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* watched(
          async (id, { send }) => {
            while (seen.pings < 3) await pause(5)
            send(head(id), data(id, "late", true))
          },
          (ping, { send }) => {
            send(pong(ping))
            stall(150)
          }
        )
        const { connection } = yield* connectTo(server, { pingInterval: 20, pingTimeout: 100 })
        assert.strictEqual((yield* roundTrip(connection)).text, "late")
      })
    )

    it.live("and goes away is not asked, nor taken for dead", () =>
      Effect.gen(function* () {
        const { server } = yield* watched(async (id, { send }) => {
          send(goaway(maxStreamId))
          await pause(150)
          send(head(id), data(id, "late", true))
        })
        const { connection } = yield* connectTo(server, { pingInterval: 20, pingTimeout: 20 })
        assert.strictEqual((yield* roundTrip(connection, get())).text, "late")
      })
    )
  })
})
