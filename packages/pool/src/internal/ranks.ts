/**
 * Things by how many of something they have, with those that have the fewest
 * at hand: whatever their number, each call takes the same time.
 */
export interface Ranked {
  /** Change it by `Ranks.move` only. */
  connections: number
  /** Its index among those that have as many. */
  place: number
}

export class Ranks<T extends Ranked> {
  size = 0
  private readonly byConnections: Array<Array<T>> = []
  /** Nothing has fewer. */
  private least = 0

  add(element: T): void {
    const { connections } = element
    while (this.byConnections.length <= connections) this.byConnections.push([])
    const equals = this.byConnections[connections]!
    element.place = equals.length
    equals.push(element)
    if (this.size++ === 0 || connections < this.least) this.least = connections
  }

  remove(element: T): void {
    const equals = this.byConnections[element.connections]!
    const last = equals.pop()!
    if (last !== element) {
      equals[element.place] = last
      last.place = element.place
    }
    this.size--
    while (this.size > 0 && this.byConnections[this.least]!.length === 0) this.least++
  }

  move(element: T, change: 1 | -1): void {
    this.remove(element)
    element.connections += change
    this.add(element)
  }

  /** Whether something has less than `cap`. */
  hasBelow(cap: number): boolean {
    return this.size > 0 && this.least < cap
  }

  /** One of those that have the fewest, fewer than `cap`, and are not among `tried`. */
  choose(cap: number, tried: ReadonlySet<T>, random: () => number): T | undefined {
    if (!this.hasBelow(cap)) return undefined
    for (let n = this.least; n < Math.min(cap, this.byConnections.length); n++) {
      const equals = this.byConnections[n]!
      if (equals.length === 0) continue
      const start = Math.floor(random() * equals.length)
      for (let i = 0; i < equals.length; i++) {
        const element = equals[(start + i) % equals.length]!
        if (!tried.has(element)) return element
      }
    }
    return undefined
  }

  /** Whether something is not among `others`. */
  hasOtherThan(others: ReadonlySet<T>): boolean {
    if (this.size > others.size) return true
    for (const equals of this.byConnections) if (equals.some((element) => !others.has(element))) return true
    return false
  }
}
