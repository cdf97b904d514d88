/** The store over any `Redis` service, with the clock as an argument for tests. */
import { ConnectionLimit } from "@poolkit/pool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { acquireApart } from "./acquireApart.ts"
import { explain } from "./explain.ts"

const { ConnectionLimitStore, ConnectionLimitStoreError } = ConnectionLimit

export interface StoreSettings {
  readonly prefix: string
  /** Undefined: the limit's `leaseTime`. Milliseconds. */
  readonly gracePeriod: number | undefined
  /** What is behind an error. Default its cause. */
  readonly causeOf?: ((error: Redis.RedisError) => unknown) | undefined
}

export const makeStoreRedis = (
  { causeOf = ({ cause }) => cause, gracePeriod, prefix }: StoreSettings,
  lua: string,
  more: () => ReadonlyArray<string> = () => []
): Effect.Effect<
  ConnectionLimit.ConnectionLimitStore["Service"],
  ConnectionLimit.ConnectionLimitStoreError,
  Redis.Redis
> =>
  Effect.gen(function* () {
    const redis = yield* Redis.Redis
    const fail = (what: string) => (error: Redis.RedisError) => {
      const cause = causeOf(error)
      return Effect.fail(new ConnectionLimitStoreError({ message: `${what}: ${explain(cause)}`, cause }))
    }
    const run = redis.eval(
      Redis.script((...params: ReadonlyArray<string>) => params, { lua, numberOfKeys: 1 }).withReturnType<
        ReadonlyArray<number | string>
      >()
    )
    const channelOf = (key: string) => `${prefix}${key}:wake`
    yield* Effect.catch(redis.send("PING"), fail("Redis, the store of connection limits, does not answer"))

    return ConnectionLimitStore.of({
      exchange: (claim) =>
        Effect.flatMap(
          Effect.catch(
            run(
              `${prefix}${claim.key}`,
              channelOf(claim.key),
              claim.member,
              ...[claim.sequence, claim.max, claim.leaseTime, claim.held, claim.idle, claim.wanted, claim.spare].map(
                String
              ),
              claim.leaving ? "1" : "0",
              String(gracePeriod ?? claim.leaseTime),
              ...more()
            ),
            fail(`connection limit ${JSON.stringify(claim.key)} (Redis key ${JSON.stringify(prefix + claim.key)})`)
          ),
          (reply) => (reply.length === 0 ? Effect.fail(outOfDate(claim.key)) : Effect.succeed(grantOf(reply)))
        ),
      // A subscription that ends is a connection that was lost. One that is being made waits for Redis, however long that is away.
      wakes: (key, member) =>
        Stream.unwrap(
          Effect.map(acquireApart(redis.subscribe(channelOf(key))), (messages) => Stream.fromQueue(messages))
        ).pipe(
          Stream.filter(({ message }) => message.split(" ").includes(member)),
          Stream.map(() => undefined),
          Stream.catchCause(() => Stream.empty),
          Stream.repeat(Schedule.spaced(Duration.seconds(1)))
        )
    })
  })

const outOfDate = (key: string): ConnectionLimit.ConnectionLimitStoreError =>
  new ConnectionLimitStoreError({ message: `connection limit ${JSON.stringify(key)}: a later exchange came first` })

const grantOf = (reply: ReadonlyArray<number | string>): ConnectionLimit.LimitGrant => {
  const [granted, fairShare, contended, retryAfter, used, members] = reply.slice(0, 6).map(Number)
  return {
    granted: granted!,
    fairShare: fairShare!,
    contended: contended === 1,
    retryAfter: retryAfter!,
    used: used!,
    members: members!,
    wakes: reply.slice(6).map(String)
  }
}
