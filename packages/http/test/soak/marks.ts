/** How often each of many millions of numbered things happened, in one byte each, off the heap. */
export class Marks {
  private counts = new Uint8Array(2 ** 20)

  /** Counts `index` once more, and tells how often that makes. */
  add(index: number): number {
    while (index >= this.counts.length) {
      const grown = new Uint8Array(this.counts.length * 2)
      grown.set(this.counts)
      this.counts = grown
    }
    return ++this.counts[index]!
  }
}
