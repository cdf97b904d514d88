/** Longer delays overflow Node's timers, which then go off at once. */
const maxDelay = 2 ** 31 - 1

/**
 * Tells when nothing has happened for a while.
 *
 * A timer that is due after the event loop stalled goes off before the loop
 * has read what arrived meanwhile. So the verdict waits for the poll phase.
 */
export class Watchdog {
  private timer: NodeJS.Timeout | undefined
  private verdict: NodeJS.Immediate | undefined
  private onSilence: (() => void) | undefined
  /** That of the timer, if it can be used again. */
  private delay: number | undefined

  /** Starts over with another delay in milliseconds; `Infinity` watches nothing. */
  watch(delay: number, onSilence: () => void): void {
    this.onSilence = onSilence
    if (this.delay === delay) return this.touch()
    this.stop()
    if (delay === Infinity) return
    this.delay = delay
    this.timer = setTimeout(suspect, Math.min(delay, maxDelay), this)
  }

  /** Something happened: the delay starts again. */
  touch(): void {
    this.pardon()
    this.timer?.refresh()
  }

  /** From now until the next `watch` it does not keep the process alive. */
  unref(): void {
    this.timer?.unref()
    this.delay = undefined
  }

  stop(): void {
    this.pardon()
    clearTimeout(this.timer)
    this.timer = undefined
    this.delay = undefined
  }

  /** For the timer. */
  suspect(): void {
    this.verdict = setImmediate(() => {
      this.verdict = undefined
      this.onSilence?.()
    })
  }

  private pardon(): void {
    if (this.verdict === undefined) return
    clearImmediate(this.verdict)
    this.verdict = undefined
  }
}

const suspect = (watchdog: Watchdog): void => watchdog.suspect()

/**
 * Calls back after a full turn of the event loop. One immediate is not enough:
 * asked for in the poll phase, it runs before the next poll. The second one
 * has a whole poll phase between itself and the call. Returns a canceller.
 */
export const afterTurn = (f: () => void): (() => void) => {
  let immediate = setImmediate(() => {
    immediate = setImmediate(f)
  })
  return () => clearImmediate(immediate)
}
