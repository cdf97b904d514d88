/** Groups A and B of the catalogue. */
import { covered, coveredBut, type Group } from "./mode.ts"

export const borrowing: ReadonlyArray<Group> = [
  {
    title: "A. Checkout, waiting and interruption",
    modes: [
      covered(
        "A1",
        "the only caller is interrupted while its connection opens",
        "pool/CachePool.borrow › A1 interrupting ${via} while it connects returns at once and loses no place",
        "pool/CachePool.connect › A2 goes on when its caller leaves, and its connection becomes idle",
        "http/SocketConnector › returns at once where nobody answers"
      ),
      covered(
        "A2",
        "the caller that began a shared connect is interrupted while others wait for it",
        "pool/SingletonPool › S2 interrupting the first caller by ${via} affects only that caller",
        "pool/SharedPool.borrow › H3 S2 of any caller, the first included, affects only that caller"
      ),
      covered(
        "A3",
        "another caller of a shared connect is interrupted",
        "pool/SingletonPool › S2 interrupting a later caller by ${via} affects only that caller",
        "pool/CachePool.borrow › A1 interrupting every second of ten waiters serves the other five in order"
      ),
      covered(
        "A4",
        "a shared connect fails",
        "pool/SingletonPool › S1 concurrent callers get the same failure, with the same Cause",
        "pool/SharedPool.growth › H3 S1 all callers get the very same failure, and the next call starts afresh"
      ),
      covered(
        "A5",
        "a shared connect turns out to speak a protocol that cannot be shared",
        "pool/NegotiatePool › N3 I15 on the fallback it fans out up to the limit, the probe's connection included",
        "http/HttpPool.protocols › may change when it restarts, in either direction and again"
      ),
      covered(
        "A6",
        "a caller in line is interrupted",
        "pool/CachePool.borrow › A1 interrupting ${via} in line loses neither the connection nor the wake-up",
        "pool/interruptedWaits › A1 an interrupted ${way} leaves the line although its scope lives on, wherever its fiber yielded"
      ),
      covered(
        "A7",
        "a caller is interrupted between being given a connection and owning it",
        "pool/CachePool.borrow › A1 interrupting ${via} between hand-over and its first step passes the connection to the next waiter",
        "pool/sweep › interrupting any operation in any state at any turn loses nothing (sample)",
        "pool/sweepStacks › interrupting any operation in any state at any turn loses nothing: ${kind} (sample)",
        "http/sweepHttp › interrupting any operation in any state at any turn loses nothing (sample)"
      ),
      covered(
        "A8",
        "interruption, or a close that hangs, while a connection is given back",
        "pool/CachePool.limits › A4 a close is not interrupted with the borrower whose return caused it",
        "pool/CachePool.limits › A4 a close that hangs stops counting after closeTimeout, not a millisecond earlier"
      ),
      covered(
        "A9",
        "a caller's time is over in the moment in which it is served",
        "pool/CachePool.waiting › A7 a connection returned in the millisecond of the deadline is not lost",
        "pool/CachePool.waiting › A7 a wait that ended does not end the body that it led to"
      ),
      covered(
        "A10",
        "of several returns in one turn only one wakes a waiter",
        "pool/CachePool.waiting › A6 returns in one turn wake as many waiters as there are connections",
        "pool/CachePool.waiting › A6 nobody waits while a connection is idle or there is room"
      ),
      covered(
        "A11",
        "whoever returns a connection takes it again past those who wait",
        "pool/CachePool.waiting › A6 a borrower that returns and borrows again stands behind the waiters",
        "pool/CachePool.waiting › A6 a newcomer does not take a connection past a waiter that was handed it and has not run"
      ),
      covered(
        "A12",
        "a connect fails and the next waiter is not told that there is room",
        "pool/CachePool.waiting › C4 a failed connect lets the next waiter try",
        "pool/CachePool.waiting › C4 a connect that timed out lets the next waiter try"
      ),
      covered(
        "A13",
        "every connection in the pool is bad",
        "pool/CachePool.health › rejecting everything at once makes the next borrow connect instead of spinning",
        "pool/CachePool.health › that rejects whatever is opened makes callers time out instead of opening in a loop",
        "pool/interruptedWaits › a peer whose connections are dead on arrival does not freeze the process where the backoff says 0"
      )
    ]
  },
  {
    title: "B. Leaks and user code",
    modes: [
      covered(
        "B1",
        "closing a connection fails or dies",
        "pool/CachePool.limits › A4 a close that ${how} harms nobody: borrower, waiter and place are as after any other",
        "pool/CachePool.limits › A4 the other finalizers of a connection run although one dies"
      ),
      covered(
        "B2",
        "closing a connection never ends",
        "pool/CachePool.limits › A4 a close that hangs stops counting after closeTimeout, not a millisecond earlier",
        "pool/drain › A4 A8 a close that hangs holds it up for closeTimeout at most"
      ),
      covered(
        "B3",
        "the code that uses a connection fails or dies",
        "pool/CachePool.borrow › returns the connection when the body dies and passes its defect on unchanged",
        "pool/CachePool.borrow › returns the connection when the body function throws, whether it waited or not",
        "pool/hookMatrix › whatever the hooks do, every caller settles and nothing is lost (sample)"
      ),
      covered(
        "B4",
        "a connect fails after a part of it had been acquired",
        "pool/CachePool.connect › what an attempt had opened before it failed is closed",
        "http/Http1Pool › pools nothing that failed its handshake"
      ),
      covered(
        "B5",
        "a borrower never gives a connection back",
        "pool/leakWarning › warns once about a loan that is older, not a millisecond earlier, and leaves the loan alone",
        "pool/leakWarning › says which connection, how long, how full the pool is and where it was taken"
      ),
      covered(
        "B6",
        "a connection opens when everybody who wanted it has left",
        "pool/CachePool.connect › A2 goes on when its caller leaves, and its connection goes to the next waiter",
        'pool/CachePool.connect › A5 "cancel" closes what a connect that heeds no interruption opens later'
      ),
      covered(
        "B7",
        "a loan is given back twice",
        "pool/CachePool.borrow › A5 releasing twice returns the connection once",
        "pool/SharedPool.concurrency › H1 A5 a loan that ended twice frees one slot"
      ),
      coveredBut(
        "B8",
        "a connection is used after it was given back",
        "The loan can do nothing any more. The connection itself is the user's value, which the pool cannot take away.",
        "pool/CachePool.borrow › A5 a lease that was released cannot invalidate its connection's next loan",
        "pool/ConnectionPool › a lease that outlives its scope is harmless"
      ),
      covered(
        "B9",
        "a connection is given back to another pool",
        "pool/CachePool.borrow › A5 a lease affects only its own pool"
      ),
      covered(
        "B10",
        "a connection is given back to a pool that has closed",
        "pool/drain › A8 a borrower that returns after the pool has closed brings nothing back"
      ),
      covered(
        "B11",
        "a pool keeps references to callers that have gone",
        "pool/memory › callers that left the line are not kept, while others still wait and the pool lives on",
        "pool/memory › borrowers that returned are not kept by an idle connection",
        "pool/memory › pools that have closed are not kept by a limit that lives on",
        "pool/scope › keeps nothing of calls that failed, timed out or were interrupted"
      ),
      covered(
        "B12",
        "nobody reads the body of a response",
        "http/Http1Connection.drop › that is slower than drainTimeout ends the connection, whatever trickles in",
        "http/PooledHttpClient.loans › end when 200 responses are forgotten unread",
        'http/fault/http1.reuse › ${kept ? "comes off the wire" : "costs the connection"}, and the next request is served: ${name}'
      )
    ]
  }
]
