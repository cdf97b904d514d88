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

  /** Starts over with another delay in milliseconds; `Infinity` watches nothing. */
  watch(delay: number, onSilence: () => void): void {
    this.stop()
    if (delay === Infinity) return
    const timer = setTimeout(
      () => {
        this.verdict = setImmediate(() => {
          this.verdict = undefined
          onSilence()
        })
      },
      Math.min(delay, maxDelay)
    )
    this.timer = timer
  }

  /** Something happened: the delay starts again. */
  touch(): void {
    if (this.verdict !== undefined) {
      clearImmediate(this.verdict)
      this.verdict = undefined
    }
    this.timer?.refresh()
  }

  /** From now until the next `watch` it does not keep the process alive. */
  unref(): void {
    this.timer?.unref()
  }

  stop(): void {
    clearTimeout(this.timer)
    clearImmediate(this.verdict)
    this.timer = this.verdict = undefined
  }
}

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
