/**
 * What a pool and a limit that it shares with other pools tell each other.
 * All calls are synchronous.
 */

/** A pool, as its limit sees it. */
export interface Member {
  /** A slot is free: `take` it now, or it goes to the next pool. */
  readonly offered: () => void
  /** When the least recently used idle connection was last used; undefined if none is idle. */
  readonly idleSince: () => number | undefined
  /** Evicts that connection. */
  readonly giveUp: () => void
  /** There is somewhere new to connect to: what the pool rests for after failures may be over. */
  readonly renewed: () => void
}

/** A limit, as one of its pools sees it. */
export interface Share {
  /** Takes a slot, if one is free. */
  readonly take: () => boolean
  /** Counts a connection that was opened elsewhere, free slot or not. */
  readonly takeOver: () => void
  /** After `takeOver`: whether there was a slot, or the least recently used idle connection of any pool gives up its one. */
  readonly makeRoom: () => boolean
  /** Gives a slot back: a close has ended. */
  readonly release: () => void
  /** Gives a slot to whichever pool of the limit is first to `take` one while `f` runs; whether one did. */
  readonly give: (f: () => void) => boolean
  /** Whether the pool has waiters that only lack a slot. */
  readonly want: (yes: boolean) => void
  /** Whether the pool would like a slot if no other pool wants it. */
  readonly hope: (yes: boolean) => void
  /**
   * Whether the connection that just came back must close for the sake of
   * another pool; if so, it has to. `needed`: somebody here waits for it, or
   * still uses it.
   */
  readonly yields: (needed: boolean) => boolean
  /** The pool is closed. */
  readonly leave: () => void
}
