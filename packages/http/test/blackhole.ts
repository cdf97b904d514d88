import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"

/** Listens and never accepts: its thread sleeps for ever. */
const script = `
  const { parentPort } = require("node:worker_threads")
  const server = require("node:net").createServer()
  server.listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })
`

const start = Effect.callback<{ readonly worker: Worker; readonly port: number }>((resume) => {
  const worker = new Worker(script, { eval: true })
  worker.once("message", (port: number) => resume(Effect.succeed({ worker, port })))
})

/** A port on which a connect hangs: the backlog is full and the kernel drops what comes. */
export const blackhole: Effect.Effect<{ readonly port: number }, never, Scope> = Effect.gen(function* () {
  const { port } = yield* Effect.acquireRelease(start, ({ worker }) => Effect.promise(() => worker.terminate()))
  const fillers: Array<Net.Socket> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => fillers.forEach((socket) => socket.destroy())))
  for (;;) {
    const filler = Net.connect(port, "127.0.0.1").on("error", () => {})
    fillers.push(filler)
    const connected = yield* Effect.raceFirst(
      Effect.callback<boolean>((resume) => void filler.once("connect", () => resume(Effect.succeed(true)))),
      Effect.delay(Effect.succeed(false), 300)
    )
    if (!connected) return { port }
  }
})
