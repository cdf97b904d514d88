/** A fleet under fire. `leaseTime` is 2 seconds; every bound that is checked here is stated in docs/fleet.md. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { redis } from "../../http/test/servers/redis.ts"
import { missing } from "../../http/test/servers/serverProcess.ts"
import { type CountingServer, countingServer } from "./support/countingServer.ts"
import { eventually, proxy, type Worker, worker, type WorkerOptions } from "./support/fleet.ts"

const max = 20
const leaseTime = 2_000

const setUp = (
  count: number,
  options: Partial<WorkerOptions> = {},
  of: (i: number) => Partial<WorkerOptions> = () => ({})
) =>
  Effect.gen(function* () {
    const store = yield* redis()
    const server = yield* countingServer(20)
    const start = (name: string, more: Partial<WorkerOptions> = {}) =>
      worker({
        name,
        redis: store.url,
        port: server.port,
        key: "fleet",
        max,
        leaseTime,
        fibers: 50,
        ...options,
        ...more
      })
    const gate = yield* proxy(store.port)
    const names = Array.from({ length: count }, (_, i) => `p${i}`)
    const workers = yield* Effect.forEach(names, (name, i) =>
      start(name, { ...(of(i).redis === "proxy" ? { redis: `redis://127.0.0.1:${gate.port}` } : of(i)) })
    )
    const errors = () =>
      workers.map(({ errors, name, stats }) => `${name} ${JSON.stringify(stats())} ${errors()}`).join("\n")
    const allWork = (among: ReadonlyArray<string>, seconds: number) =>
      Effect.suspend(() => {
        server.takeServed()
        const seen = new Map<string, number>()
        return eventually(
          seconds,
          () => {
            for (const [name, n] of server.takeServed()) seen.set(name, (seen.get(name) ?? 0) + n)
            return among.every((name) => (seen.get(name) ?? 0) >= 5)
          },
          () => `served ${JSON.stringify([...seen])}\n${errors()}`
        )
      })
    yield* allWork(names, 30)
    return { store, server, gate, names, workers, start, errors, allWork }
  })

const openBy = (server: CountingServer, workers: ReadonlyArray<Worker>) =>
  workers.reduce((sum, { name }) => sum + server.open(name), 0)

describe.skipIf(missing("redis-server"))("a fleet under fire", () => {
  it.live("kill -9 of half of it: the rest has the whole budget after the lease, never more", () =>
    Effect.gen(function* () {
      const { allWork, errors, names, server, workers } = yield* setUp(8)
      const [victims, rest] = [workers.slice(0, 4), workers.slice(4)]
      for (const { signal } of victims) signal("SIGKILL")
      yield* Effect.promise(() => Promise.all(victims.map(({ exited }) => exited)))
      const took = yield* eventually(4 * (leaseTime / 1000), () => openBy(server, rest) === max, errors)
      console.log(`the budget of the dead was in use after ${took.toFixed()} ms`)
      assert.isBelow(took, leaseTime + 1_000)
      yield* allWork(names.slice(4), 5)
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live(
    "Redis is killed and comes back empty, with new processes at the door: never more, and everybody goes on",
    () =>
      Effect.gen(function* () {
        const { allWork, names, server, start, store } = yield* setUp(6)
        for (let round = 0; round < 3; round++) {
          yield* store.kill
          yield* Effect.sleep([100, 700, 1_200][round]!)
          // Ready to start when it is back, before the others have noticed.
          yield* store.start
          const name = `new${round}`
          yield* start(name)
          names.push(name)
          yield* allWork(names, 15)
        }
        assert.isAtMost(server.takePeak(), max)
      })
  )

  it.live("Redis is away for longer than the lease: all close, nobody connects, and all come back", () =>
    Effect.gen(function* () {
      const { allWork, errors, names, server, store, workers } = yield* setUp(4)
      yield* store.kill
      const took = yield* eventually(leaseTime / 1000 + 1, () => server.open() === 0, errors)
      assert.isBelow(took, leaseTime)
      const accepted = server.accepted()
      yield* Effect.sleep(1_000)
      assert.deepStrictEqual([server.accepted() - accepted, server.open()], [0, 0])
      assert.deepStrictEqual(
        workers.map((one) => one.stats()?.["lease"]),
        workers.map(() => "lost")
      )
      yield* store.start
      yield* allWork(names, 10)
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live("failOpen: all go on while Redis is away, and are within the budget again when it is back", () =>
    Effect.gen(function* () {
      const { allWork, errors, names, server, store } = yield* setUp(4, { onStoreError: "failOpen" })
      yield* store.kill
      yield* Effect.sleep(leaseTime + 500)
      yield* allWork(names, 5)
      assert.isBelow(server.takePeak(), 2 * max)
      yield* store.start
      yield* eventually(5, () => server.open() <= max, errors)
      yield* Effect.sleep(leaseTime)
      server.takePeak()
      yield* allWork(names, 10)
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live("SIGSTOP beyond the lease: others get its connections, and it closes them when it goes on", () =>
    Effect.gen(function* () {
      const { allWork, errors, names, server, workers } = yield* setUp(4)
      const [stopped, ...rest] = workers
      // A connection that is stopped before it has said whose it is could not be told from others.
      yield* eventually(10, () => names.every((name) => server.open(name) === max / 4), errors)
      stopped!.signal("SIGSTOP")
      yield* Effect.sleep(100)
      const kept = server.open(stopped!.name)
      assert.isAtMost(server.takePeak(), max)
      yield* eventually(2 * (leaseTime / 1000), () => openBy(server, rest) === max, errors)
      // What the server sees beyond the budget is what the stopped process still has open, and nothing else.
      assert.isAtMost(server.takePeak(), max + kept)
      stopped!.signal("SIGCONT")
      const took = yield* eventually(2, () => server.open() <= max, errors)
      console.log(`${kept} connections too many for ${took.toFixed()} ms after SIGCONT`)
      assert.isAtMost(server.takePeak(), max + kept)
      yield* Effect.sleep(leaseTime)
      server.takePeak()
      yield* allWork(names, 10)
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live("SIGSTOP for less than the lease changes nothing", () =>
    Effect.gen(function* () {
      const { allWork, names, server, workers } = yield* setUp(4)
      yield* Effect.sleep(leaseTime)
      const accepted = server.accepted()
      for (let i = 0; i < 3; i++) {
        workers[i]!.signal("SIGSTOP")
        yield* Effect.sleep(0.3 * leaseTime)
        workers[i]!.signal("SIGCONT")
        yield* Effect.sleep(0.5 * leaseTime)
      }
      yield* allWork(names, 5)
      assert.deepStrictEqual([server.accepted() - accepted, server.takePeak()], [0, max])
    })
  )

  it.live("a process that is cut off from Redis has closed everything before others get it", () =>
    Effect.gen(function* () {
      const { allWork, errors, gate, names, server, workers } = yield* setUp(4, {}, (i) =>
        i === 0 ? { redis: "proxy" } : {}
      )
      for (let round = 0; round < 2; round++) {
        gate.pause()
        yield* eventually(leaseTime / 1000, () => server.open("p0") === 0, errors)
        yield* eventually(leaseTime / 1000 + 1, () => openBy(server, workers.slice(1)) === max, errors)
        gate.resume()
        yield* allWork(names, 10)
      }
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live("a process that has nothing to do any more gives up all that another one needs", () =>
    Effect.gen(function* () {
      const { allWork, errors, server, start } = yield* setUp(1, { busyFor: 3_000 })
      yield* allWork(["p0"], 5)
      yield* eventually(10, () => server.open("p0") === max, errors)
      yield* Effect.sleep(3_000)
      server.takePeak()
      yield* start("busy", { busyFor: undefined })
      yield* eventually(10, () => server.open("busy") > 0, errors)
      const took = yield* eventually(5, () => server.open("busy") === max, errors)
      console.log(`it had the other 19 connections ${took.toFixed()} ms after its first`)
      assert.isAtMost(server.takePeak(), max)
    })
  )

  it.live("more processes than connections: everybody gets a turn", () =>
    Effect.gen(function* () {
      const { allWork, names, server } = yield* setUp(5, { max: 2, fibers: 5 })
      server.takePeak()
      yield* allWork(names, 20)
      assert.isAtMost(server.takePeak(), 2)
    })
  )
})
