/**
 * A Redis service over node-redis with the settings that suit a store of
 * limits: nothing is sent later than it was said, it is clear soon whether
 * Redis is there, a connection comes back by itself, and whatever is under way
 * can be given up at any time.
 */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"

export interface Connected {
  readonly redis: Redis.Redis["Service"]
  /** What is behind an error: that there is no connection says less than why the last attempt failed. */
  readonly causeOf: (error: Redis.RedisError) => unknown
}

type Client = NodeRedis.NodeRedis["Service"]["client"]
type Socket = NonNullable<NonNullable<Parameters<typeof NodeRedis.layer>[0]>["socket"]>

export const connectNodeRedis = (
  url: string,
  /** Of one attempt; milliseconds. */
  connectTimeout: number
): Effect.Effect<Connected, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    let built = false
    let lost: unknown
    const socket = (signal: AbortSignal): Socket => ({
      signal,
      socketTimeout: 15_000,
      connectTimeout,
      reconnectStrategy: (retries, cause) => {
        lost = cause
        // The first attempt tells at once that the configuration is wrong.
        return built ? Math.min(50 * 2 ** retries, 400) + 100 * Math.random() : cause
      }
    })
    const abort = new AbortController()
    const layer = NodeRedis.layer({
      url,
      // What an exchange said may be wrong by the time that a queue is sent.
      disableOfflineQueue: true,
      // For the connection of a subscriber, that waits for whatever comes: until TCP gives up where Redis's host vanished.
      pingInterval: 5_000,
      socket: socket(abort.signal)
    })
    const services = yield* buildOrAbort(layer, () => abort.abort()).pipe(
      // It throws where it does not like the address.
      Effect.catchDefect((defect) => Effect.fail(new Redis.RedisError({ cause: defect }))),
      // It warns of every attempt; the limit tells once that Redis is away, and why.
      Effect.provideService(References.MinimumLogLevel, "Error")
    )
    built = true
    const { client } = Context.get(services, NodeRedis.NodeRedis)
    yield* Effect.addFinalizer(() => destroy(client, abort))
    const redis = Context.get(services, Redis.Redis)
    const watched = watch(() => {
      if (!client.isReady) return
      lost = new Error("no answer")
      client.destroy()
      // It goes on trying, and tells `reconnectStrategy` what is wrong.
      client.connect().catch(() => {})
    })
    return {
      redis: {
        ...redis,
        eval:
          (script) =>
          (...params) =>
            watched(redis.eval(script)(...params)),
        subscribe: (channel) => subscribe(client, socket, channel)
      },
      causeOf: ({ cause }) => (client.isReady ? cause : (lost ?? cause))
    }
  })

/** Its release would wait for the answer of a server that hangs. So what hangs has to fail before it is released. */
const buildOrAbort = <A, E>(layer: Layer.Layer<A, E>, abort: () => void) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkChild(Layer.build(layer)), (fiber) =>
      Effect.onInterrupt(restore(Fiber.join(fiber)), () => {
        abort()
        return Fiber.await(fiber)
      })
    )
  )

/**
 * Closing in good order waits for answers, so a Redis that hangs would keep a
 * program from ending. `destroy` alone leaves a socket that is just connecting.
 */
const destroy = (client: Client, abort: AbortController): Effect.Effect<void> =>
  Effect.sync(() => {
    client.destroy()
    abort.abort()
  })

/**
 * Calls `silent` when a command that was under way for a while is given up.
 * Where Redis's host vanished only that tells: each command that is written
 * counts as activity, and TCP goes on for a quarter of an hour.
 */
const watch =
  (silent: () => void) =>
  <A, E>(command: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      const from = performance.now()
      return Effect.onInterrupt(command, () =>
        Effect.sync(() => {
          // A limit that ends gives up its exchange as well.
          if (performance.now() - from >= patience) silent()
        })
      )
    })

/** Milliseconds. */
const patience = 100

/** As the service's own, which cannot be given up while it connects, however long that takes. */
const subscribe = (
  client: Client,
  socket: (signal: AbortSignal) => Socket,
  channel: string
): Effect.Effect<Queue.Dequeue<Redis.RedisMessage, Redis.RedisError>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const messages = yield* Queue.unbounded<Redis.RedisMessage, Redis.RedisError>()
    const abort = new AbortController()
    const subscriber = client.duplicate({ socket: socket(abort.signal) })
    // It connects again by itself, and subscribes again.
    subscriber.on("error", () => {})
    yield* Effect.addFinalizer(() => destroy(subscriber, abort))
    yield* Effect.tryPromise({
      try: async () => {
        await subscriber.connect()
        await subscriber.subscribe(channel, (message) => void Queue.offerUnsafe(messages, { channel, message }))
      },
      catch: (cause) => new Redis.RedisError({ cause })
    }).pipe(Effect.catch((error) => Queue.fail(messages, error)))
    return messages
  })
