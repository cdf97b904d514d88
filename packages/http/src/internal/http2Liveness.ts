import { Watchdog } from "./watchdog.ts"

export interface LivenessOptions {
  /** Milliseconds. */
  readonly interval: number
  readonly timeout: number
  readonly now: () => number
  /** Bytes that the peer has ever sent. */
  readonly received: () => number
  /** Asks for an answer, and tells when it came or that none can come. */
  readonly ping: (onAnswer: (alive: boolean) => void) => void
  readonly onDead: () => void
}

/**
 * Finds out whether a silent peer is still there. Any byte from it counts as
 * an answer. It has a timer only while streams are open or an answer is due,
 * and never one that keeps the process alive.
 */
export class Liveness {
  private readonly options: LivenessOptions
  private readonly timer = new Watchdog()
  private busy = false
  private asked = false
  private stopped = false
  private idleSince: number
  private seen = 0

  constructor(options: LivenessOptions) {
    this.options = options
    this.idleSince = options.now()
  }

  /** The first stream opens. A peer that was not heard of for long is asked at once. */
  start(): void {
    this.busy = true
    if (this.asked || this.isOff()) return
    if (this.options.now() - this.idleSince > this.options.interval) this.ask()
    else this.wait()
  }

  /** The last stream closed. */
  pause(): void {
    this.busy = false
    this.idleSince = this.options.now()
    if (!this.asked) this.timer.stop()
  }

  /**
   * A request was given up, and the peer has said nothing since it was sent.
   * Without this, callers that give up before `interval` would never notice
   * that the peer is gone.
   */
  suspect(): void {
    if (!this.asked && !this.isOff()) this.ask()
  }

  stop(): void {
    this.stopped = true
    this.timer.stop()
  }

  private isOff(): boolean {
    return this.stopped || this.options.interval === Infinity
  }

  private wait(): void {
    this.seen = this.options.received()
    this.watch(this.options.interval, () => (this.heard() ? this.wait() : this.ask()))
  }

  private ask(): void {
    this.asked = true
    this.seen = this.options.received()
    this.watch(this.options.timeout, () => (this.heard() ? this.onAnswer() : this.options.onDead()))
    this.options.ping((alive) => {
      if (this.stopped || !this.asked) return
      if (alive) this.onAnswer()
      // A connection that is on its way out takes no PING; the timeouts of its streams are left.
      else this.stop()
    })
  }

  private heard(): boolean {
    return this.options.received() !== this.seen
  }

  private onAnswer(): void {
    this.asked = false
    if (this.busy) this.wait()
    else this.timer.stop()
  }

  private watch(delay: number, onSilence: () => void): void {
    this.timer.watch(delay, onSilence)
    this.timer.unref()
  }
}
