/**
 * The peer of the stack test: a scripted one that also knows what a server
 * would see at any moment.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connector } from "../../src/Connector.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import type { Conn, ConnectError } from "./bench.ts"
import type { Lab } from "./lab.ts"
import type { Mode } from "./stackSetup.ts"

export const closeTimeout = 211
const slow = 170

export class StackPeer {
  readonly peer: TestConnector.TestConnector
  connects: Mode = "ok"
  closes: Mode = "ok"
  /** Whether an attempt failed on purpose so far, and when the last one did. */
  failedAt = -Infinity
  readonly open = new Set<Conn>()
  /** When it was opened, or last returned by its last borrower. */
  readonly idleSince = new Map<Conn, number>()
  readonly openedAt = new Map<Conn, number>()
  /** Told when a close begins. */
  onClose: (connection: Conn) => void = () => {}
  /** Closes under way, and when they began. */
  readonly closing = new Map<Conn, number>()
  private opening = 0
  private readonly lab: Lab

  constructor(lab: Lab) {
    this.lab = lab
    this.peer = TestConnector.makeUnsafe((attempt) => this.behave(attempt))
    this.peer.onClose((connection) => this.close(connection))
  }

  readonly connect: Connector<void, Conn, ConnectError, Scope.Scope> = () =>
    Effect.suspend(() => {
      this.opening++
      const opened = Effect.tap(this.peer.connect(), (connection) =>
        Effect.sync(() => {
          this.open.add(connection)
          this.openedAt.set(connection, this.lab.clock.now)
          this.idleSince.set(connection, this.lab.clock.now)
        })
      )
      return Effect.ensuring(
        opened,
        Effect.sync(() => {
          this.opening--
        })
      )
    })

  /** Connections that a server has, or is about to have. A close that takes too long no longer counts. */
  get seen(): number {
    let closing = 0
    for (const began of this.closing.values()) if (this.lab.clock.now < began + closeTimeout) closing++
    return this.opening + this.open.size + closing
  }

  private behave(attempt: number): Effect.Effect<void, ConnectError> {
    const mode = this.connects
    if (mode === "fail" || mode === "die") this.failedAt = this.lab.clock.now
    if (mode === "hang") return this.work(mode)
    return mode === "fail" ? TestConnector.fail(attempt) : this.work(mode)
  }

  private work(mode: Mode): Effect.Effect<void> {
    if (mode === "slow") return Effect.sleep(slow)
    if (mode === "hang") return Effect.never
    return mode === "ok" ? Effect.void : Effect.die(onPurpose)
  }

  private close(connection: Conn): Effect.Effect<void> {
    this.onClose(connection)
    this.open.delete(connection)
    this.closing.set(connection, this.lab.clock.now)
    return Effect.ensuring(
      this.work(this.closes),
      Effect.sync(() => this.closing.delete(connection))
    )
  }
}

/** What connects, closes and bodies of the test die with. */
export const onPurpose = "on purpose"
