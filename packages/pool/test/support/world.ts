/**
 * Plays a sequence of commands to its end: after each the model checks, and in
 * the end everything must be returned, closed and forgotten.
 */
import { Actions, closings, gated, validations } from "./modelActions.ts"
import type { Command } from "./modelCommands.ts"
import type { Setup } from "./modelSetup.ts"
import { Lab } from "./lab.ts"

export class World extends Actions {
  /** Plays a sequence and says what is wrong. */
  play(commands: ReadonlyArray<Command>): ReadonlyArray<string> {
    for (const command of commands) {
      const several = command.op === "together"
      this.model.beginStep(!several)
      for (const one of several ? command.commands : [command]) this.apply(one)
      this.rest()
      if (this.model.wrongs.length > 0) return this.model.wrongs
    }
    this.finish()
    return this.model.wrongs
  }

  // ---------------------------------------------------------------------------
  // The end
  // ---------------------------------------------------------------------------

  /** Lets everything end, borrows all there may be, closes the pool, and looks for what is left. */
  private finish(): void {
    const { model, peer, lab, setup } = this
    Object.assign(peer, { stubborn: false, stillborn: false })
    Object.assign(peer.modes, { connect: "ok", validate: "ok", close: "ok" })
    const step = (f: () => void) => {
      if (model.wrongs.length > 0) return
      model.beginStep(false)
      f()
      this.rest()
    }
    step(() => {
      while (model.guards.length > 0) this.unguard(0)
      for (const call of this.shared) this.closeScope(call)
      for (const call of model.inside) this.finishBody(call, "ok")
    })
    step(() => {
      for (const job of [...peer.attempts.filter(gated), ...validations(peer), ...closings(peer)]) job.resolve?.("ok")
    })
    step(() => {
      for (const call of model.inside) this.finishBody(call, "ok")
    })
    step(() => lab.advance(Math.max(setup.waitTimeout, setup.connectTimeout, setup.closeTimeout) + 20_000))
    for (let i = 0; i < 100 && model.inside.length > 0; i++) {
      step(() => {
        for (const call of model.inside) this.finishBody(call, "ok")
      })
    }
    // Until the last pause is over.
    step(() => lab.advance(2_500))
    step(() => this.borrowAll())
    step(() => this.closePool())
    step(() => lab.advance(setup.closeTimeout + setup.drainDeadline + 60_000))
    if (model.wrongs.length === 0) this.checkNothingLeft()
  }

  private borrowAll(): void {
    const { model, setup, lab } = this
    if (model.draining) return
    for (const call of model.calls) if (call.state !== "over") model.wrong(`call ${call.id} never ended`)
    const count = Math.min(setup.maxSize, setup.maxPending + model.lendable)
    for (let i = 0; i < count; i++) this.call("use", undefined)
    lab.advance(10_000)
    if (model.lent.length !== count) model.wrong(`only ${model.lent.length} of ${count} could be borrowed at once`)
    for (const call of model.inside) this.finishBody(call, "ok")
  }

  private checkNothingLeft(): void {
    const { model, peer, lab, ledger, setup } = this
    const none = (name: string, count: number) => {
      if (count !== 0) model.wrong(`${count} ${name} left after close`)
    }
    const stats = lab.get(this.pool.stats)
    none("idle connections", stats.idle)
    none("used connections", stats.used)
    none("attempts", stats.connecting)
    none("closing connections", stats.closing)
    none("waiting callers", stats.pending)
    none("borrowers", stats.borrowers)
    none("connections not closed", stats.created - stats.closed)
    none("open connections", peer.connections.filter((connection) => !connection.isClosed).length)
    none("watchers", peer.connections.filter((connection) => connection.watchers > 0).length)
    none("running attempts", peer.attempts.filter((attempt) => attempt.running).length)
    none("fibers", lab.fibers)
    none("timers", lab.clock.timers)
    if (!setup.observed) return
    none("loans not returned", ledger.borrowed - ledger.returned)
    none("waits not ended", this.waits.size)
  }
}

/** Plays one sequence in a lab of its own and says what is wrong. */
export const play = (setup: Setup, commands: ReadonlyArray<Command>): ReadonlyArray<string> =>
  Lab.run(() => {
    try {
      return new World(setup).play(commands)
    } catch (error) {
      return [String((error as Error).stack ?? error)]
    }
  })
