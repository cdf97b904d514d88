import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Net from "node:net"
import { connect } from "../src/lineProtocol/connection.ts"
import { program } from "../src/lineProtocol/main.ts"
import { leakOracle } from "../../http/test/leakOracle.ts"

leakOracle()

/** A server whose answers a test writes by hand. */
const manual = Effect.gen(function* () {
  const sockets: Array<Net.Socket> = []
  const received: Array<string> = []
  const server = Net.createServer((socket) => {
    sockets.push(socket)
    socket
      .on("error", () => {})
      .on("data", (data) => {
        for (const line of String(data).split("\n").filter(Boolean)) {
          if (line === "HELLO") socket.write("manual\n")
          else received.push(line)
        }
      })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  const { port } = server.address() as Net.AddressInfo
  const receivedAll = (count: number) => Effect.repeat(Effect.sleep(1), { while: () => received.length < count })
  return { sockets, received, receivedAll, address: { host: "127.0.0.1", port } }
})

describe("lineProtocol", () => {
  it.live(
    "every request is answered, by its own answer, while one of two servers is killed and started again",
    () =>
      Effect.gen(function* () {
        const { after, before, failed, meanwhile, wrong } = yield* program
        assert.strictEqual(wrong, 0)
        assert.isTrue(before["a"]! >= 300 && before["b"]! >= 300)
        assert.isAtLeast(meanwhile["a"]!, 500)
        // Answers of the other one that were on their way.
        assert.isAtMost(meanwhile["b"] ?? 0, 32)
        assert.isTrue(after["b"]! >= 300)
        // What server b had got when it was killed: two connections with 16 requests each.
        assert.isAtMost(failed, 32)
      }),
    60_000
  )

  describe("connection", () => {
    it.live("sends requests without waiting, and gives each its own answer", () =>
      Effect.gen(function* () {
        const { address, received, receivedAll, sockets } = yield* manual
        const connection = yield* connect(address)
        const fibers = yield* Effect.forEach(["a", "b", "c"], (line) =>
          Effect.forkChild(connection.send(line), { startImmediately: true })
        )
        yield* receivedAll(3)
        assert.deepStrictEqual(received, ["a", "b", "c"])
        sockets[0]!.write("re: a\nre: b\nre: c\n")
        assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["re: a", "re: b", "re: c"])
      })
    )

    it.live("skips the answer of a sender that was interrupted", () =>
      Effect.gen(function* () {
        const { address, receivedAll, sockets } = yield* manual
        const connection = yield* connect(address)
        const a = yield* Effect.forkChild(connection.send("a"), { startImmediately: true })
        yield* Fiber.interrupt(a)
        const b = yield* Effect.forkChild(connection.send("b"), { startImmediately: true })
        yield* receivedAll(2)
        sockets[0]!.write("re: a\nre: b\n")
        assert.strictEqual(yield* Fiber.join(b), "re: b")
      })
    )

    it.live("says whether the server may have got a request that was not answered", () =>
      Effect.gen(function* () {
        const { address, receivedAll, sockets } = yield* manual
        const connection = yield* connect(address)
        const a = yield* Effect.forkChild(Effect.flip(connection.send("a")), { startImmediately: true })
        yield* receivedAll(1)
        sockets[0]!.destroy()
        assert.deepInclude(yield* Fiber.join(a), { _tag: "LineError", sent: true })
        assert.deepInclude(yield* Effect.flip(connection.send("b")), { _tag: "LineError", sent: false })
        assert.isFalse(connection.isOpen())
      })
    )
  })
})
