/**
 * A doubly linked list whose links live in its elements: no allocation to
 * push, and an element leaves from the middle in O(1). An element is in at
 * most one list at a time.
 */
export interface Link<T> {
  previous: T | undefined
  next: T | undefined
}

export class LinkedList<T extends Link<T>> {
  first: T | undefined = undefined
  last: T | undefined = undefined
  size = 0

  push(element: T): void {
    element.previous = this.last
    if (this.last === undefined) this.first = element
    else this.last.next = element
    this.last = element
    this.size++
  }

  /** Inserts before `next`, at the end if it is undefined. */
  insert(element: T, next: T | undefined): void {
    if (next === undefined) return this.push(element)
    element.next = next
    element.previous = next.previous
    if (next.previous === undefined) this.first = element
    else next.previous.next = element
    next.previous = element
    this.size++
  }

  remove(element: T): void {
    if (element.previous === undefined) this.first = element.next
    else element.previous.next = element.next
    if (element.next === undefined) this.last = element.previous
    else element.next.previous = element.previous
    element.previous = undefined
    element.next = undefined
    this.size--
  }
}
