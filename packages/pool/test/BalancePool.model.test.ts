/**
 * Random commands on a balance: addresses come, go, refuse and hang, callers
 * come, go and are interrupted, time passes. A model of the addresses, kept by
 * what the balance tells its observer, judges each choice.
 */
import { describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool, PoolStats } from "../src/ConnectionPool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { Lab } from "./support/lab.ts"
import seeds from "./support/balanceSeeds.json" with { type: "json" }
import { type Kept, testModel } from "./support/sequences.ts"

const sequences = 1_000

const names = ["a", "b", "c", "d"]
type Behaviour = "accepts" | "refuses" | "hangs"

interface Setup {
  readonly kind: "cache" | "shared"
  readonly maxSize: number
  readonly cap: number
  readonly onAbandon: "keep" | "cancel"
  /** Whether the inner pool knows which addresses have room. */
  readonly limited: boolean
}

type Command =
  | { readonly _tag: "borrow" }
  | { readonly _tag: "leave" | "break" | "interrupt"; readonly which: number }
  | { readonly _tag: "list"; readonly addresses: ReadonlyArray<string> }
  | { readonly _tag: "behave"; readonly address: string; readonly behaviour: Behaviour }
  | { readonly _tag: "advance"; readonly millis: number }

interface Conn {
  readonly address: string
}

interface Caller {
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly gate: Deferred.Deferred<"leave" | "break">
  connection: Conn | undefined
}

/** Longer than an attempt can take, so that an attempt never meets one again that it tried. */
const setAside = 100_000
const connectTimeout = 1_000

/** An address, as the balance told of it since it came into the list. */
interface Listed {
  /** Connecting or connected. */
  connections: number
  asideUntil: number
}

class World {
  readonly lab = new Lab()
  readonly wrongs: Array<string> = []
  readonly callers: Array<Caller> = []
  readonly open = new Set<Conn>()
  readonly behaviours = new Map<string, Behaviour>()
  readonly pool: ConnectionPool<void, Conn, unknown>
  listed = new Map<string, Listed>()
  private readonly lists: Queue.Queue<ReadonlyArray<string>>
  private readonly scope: Scope.Closeable
  private readonly setup: Setup

  constructor(setup: Setup) {
    this.setup = setup
    this.lists = this.lab.get(Queue.unbounded<ReadonlyArray<string>>())
    const common = { onAbandon: setup.onAbandon, maxSize: setup.maxSize, backoff: Schedule.spaced(50) }
    const made = this.lab.make(
      BalancePool.make({
        addresses: Stream.fromQueue(this.lists),
        connect: (address: string) => this.connect(address),
        connectionsPerAddress: setup.cap,
        connectTimeout,
        setAside: Schedule.spaced(setAside),
        pool: (connect, grant): Effect.Effect<ConnectionPool<void, Conn, unknown>, never, Scope.Scope> =>
          setup.kind === "cache"
            ? CachePool.make({ ...common, connect, limit: setup.limited ? grant.limit : undefined })
            : SharedPool.make({
                ...common,
                connect,
                limit: setup.limited ? grant.limit : undefined,
                concurrency: 2
              }),
        observer: this.observer()
      })
    )
    this.pool = made.value
    this.scope = made.scope
  }

  private connect(address: string): Effect.Effect<Conn, string, Scope.Scope> {
    return Effect.suspend(() => {
      const entry = this.listed.get(address)!
      entry.connections++
      const left = Effect.addFinalizer(() => Effect.sync(() => entry.connections--))
      return Effect.andThen(left, this.handshake(address))
    })
  }

  private handshake(address: string): Effect.Effect<Conn, string, Scope.Scope> {
    const behaviour = this.behaviours.get(address) ?? "accepts"
    if (behaviour === "hangs") return Effect.never
    if (behaviour === "refuses") return Effect.andThen(Effect.yieldNow, Effect.fail(`${address} refused`))
    return Effect.andThen(
      Effect.yieldNow,
      Effect.acquireRelease(
        Effect.sync((): Conn => {
          const connection = { address }
          this.open.add(connection)
          return connection
        }),
        (connection) => Effect.sync(() => this.open.delete(connection))
      )
    )
  }

  private observer(): BalancePool.AddressObserver<string, unknown> {
    return {
      added: (address) => void this.listed.set(address, { connections: 0, asideUntil: 0 }),
      removed: (address) => void this.listed.delete(address),
      connecting: (address) => this.judge(address),
      setAside: (address, duration) => {
        this.listed.get(address)!.asideUntil = this.lab.clock.now + duration
      },
      back: (address) => {
        this.listed.get(address)!.asideUntil = 0
      }
    }
  }

  private isAside({ asideUntil }: Listed): boolean {
    return asideUntil > this.lab.clock.now
  }

  /** Whether a connect to `address` is what the rules say. */
  private judge(address: string): void {
    const chosen = this.listed.get(address)
    if (chosen === undefined) return void this.wrongs.push(`connects to ${address}, which is not in the list`)
    if (chosen.connections >= this.setup.cap) this.wrongs.push(`more than ${this.setup.cap} connections to ${address}`)
    const others = [...this.listed.values()].filter((other) => other !== chosen)
    if (!this.isAside(chosen)) {
      // What was tried before in the same attempt is set aside.
      const better = others.some((other) => !this.isAside(other) && other.connections < chosen.connections)
      if (better) this.wrongs.push(`connects to ${address}, which does not have the fewest connections`)
    } else if (others.some((other) => !this.isAside(other))) {
      this.wrongs.push(`connects to ${address}, which is set aside, although another one is not`)
    } else {
      const room = others.filter((other) => other.connections < this.setup.cap)
      if (room.some((other) => other.asideUntil < chosen.asideUntil)) {
        this.wrongs.push(`connects to ${address}, which is not the first to come back`)
      }
    }
  }

  // ---------------------------------------------------------------------------
  // Commands
  // ---------------------------------------------------------------------------

  borrow(): void {
    const caller: Caller = { fiber: undefined, gate: Deferred.makeUnsafe(), connection: undefined }
    this.callers.push(caller)
    caller.fiber = this.lab.fork(
      this.pool.use((connection, lease) => {
        caller.connection = connection
        return Effect.flatMap(Deferred.await(caller.gate), (how) => (how === "break" ? lease.invalidate : Effect.void))
      })
    )
  }

  private get present(): ReadonlyArray<Caller> {
    return this.callers.filter(({ fiber }) => fiber?.pollUnsafe() === undefined)
  }

  perform(command: Command): void {
    const { present } = this
    switch (command._tag) {
      case "borrow":
        this.borrow()
        break
      case "leave":
      case "break":
      case "interrupt": {
        const caller = present[command.which % Math.max(1, present.length)]
        if (command._tag === "interrupt") caller?.fiber?.interruptUnsafe()
        else if (caller?.connection !== undefined) Deferred.doneUnsafe(caller.gate, Exit.succeed(command._tag))
        break
      }
      case "list":
        Queue.offerUnsafe(this.lists, command.addresses)
        break
      case "behave":
        this.behaviours.set(command.address, command.behaviour)
        break
      case "advance":
        this.lab.advance(command.millis)
    }
    this.lab.settle()
    this.check()
  }

  private stats(): PoolStats {
    return this.lab.get(this.pool.stats)
  }

  private check(): void {
    const { connecting, idle, pending, used } = this.stats()
    const lent = new Set(this.present.map(({ connection }) => connection))
    for (const connection of this.open) {
      if (!this.listed.has(connection.address) && !lent.has(connection)) {
        this.wrongs.push(`an idle connection to ${connection.address}, which is not in the list`)
      }
    }
    if (this.setup.kind === "cache" && pending > 0 && idle > 0) this.wrongs.push("callers wait beside idle connections")
    if (pending > 0 && connecting === 0 && idle + used < this.setup.maxSize) {
      const room = [...this.listed.values()].some((entry) => !this.isAside(entry) && entry.connections < this.setup.cap)
      // A pause of the pool's own after all addresses had failed.
      if (room && this.lab.clock.timers === 0) this.wrongs.push("callers wait although an address has room")
    }
  }

  /** All is well again: everybody is served; then nothing is left. */
  end(): void {
    for (const name of names) this.behaviours.set(name, "accepts")
    this.perform({ _tag: "list", addresses: names })
    for (let i = 0; i < 4; i++) this.perform({ _tag: "advance", millis: setAside })
    for (const { connection, gate } of this.callers)
      if (connection !== undefined) Deferred.doneUnsafe(gate, Exit.succeed("leave"))
    this.lab.settle()
    this.borrow()
    this.lab.advance(setAside)
    if (this.callers.at(-1)!.connection === undefined) this.wrongs.push("nobody is served any more")
    this.lab.run(Scope.close(this.scope, Exit.void))
    const { clock, fibers } = this.lab
    // Bodies are never interrupted: those of callers that hold a connection go on.
    const inside = this.present.length
    if (this.open.size > 0) this.wrongs.push(`${this.open.size} open after close`)
    if (fibers !== inside || clock.timers > 0) {
      this.wrongs.push(`${fibers} fibers, ${inside} of them callers, and ${clock.timers} timers after close`)
    }
  }
}

const follow = (setup: Setup, commands: ReadonlyArray<Command>): ReadonlyArray<string> => {
  const world = new World(setup)
  for (const command of commands) {
    world.perform(command)
    if (world.wrongs.length > 0) return world.wrongs
  }
  world.end()
  return world.wrongs
}

const play = (setup: Setup, commands: ReadonlyArray<Command>): ReadonlyArray<string> => {
  try {
    return Lab.run(() => follow(setup, commands))
  } catch (error) {
    return [String(error)]
  }
}

const which = fc.nat(20)
const tag = <const T>(...tags: ReadonlyArray<T>) => fc.constantFrom(...tags)

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ _tag: tag("borrow") }) },
  { weight: 7, arbitrary: fc.record({ _tag: tag("leave", "break", "interrupt"), which }) },
  { weight: 3, arbitrary: fc.record({ _tag: tag("list"), addresses: fc.subarray(names) }) },
  {
    weight: 3,
    arbitrary: fc.record({ _tag: tag("behave"), address: tag(...names), behaviour: tag("accepts", "refuses", "hangs") })
  },
  { weight: 3, arbitrary: fc.record({ _tag: tag("advance"), millis: tag(1, 50, 500, 2_000, setAside) }) }
)

const setup: fc.Arbitrary<Setup> = fc.record({
  kind: tag("cache", "shared"),
  maxSize: fc.integer({ min: 1, max: 6 }),
  cap: tag(1, 2, Infinity),
  onAbandon: tag("keep", "cancel"),
  limited: fc.boolean()
})

describe("model of BalancePool", () => {
  testModel("a balance keeps its rules, whatever happens to it (sample)", {
    of: "a balance",
    file: "balanceSeeds.json",
    kept: seeds as unknown as ReadonlyArray<Kept<Setup, Command>>,
    setup,
    command,
    play,
    sequences: Number(process.env["POOLKIT_MODEL_BALANCE"] ?? sequences)
  })
})
