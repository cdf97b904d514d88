/** Groups C, D and E of the catalogue. */
import { covered, coveredBut, type Group, notHere } from "./mode.ts"

export const limits: ReadonlyArray<Group> = [
  {
    title: "C. Limits",
    modes: [
      covered(
        "C1",
        "connects that race exceed the limit",
        "pool/CachePool.limits › A3 C5 open and connecting connections never exceed it, at any step",
        "pool/ConnectionLimit › M4 connections of all pools together are never more than max, at any instant"
      ),
      covered(
        "C2",
        "a failed connect takes its place with it",
        "pool/CachePool.limits › A3 a place is not lost when attempts fail",
        "pool/ConnectionLimit › A3 a failed connect gives its slot back"
      ),
      covered(
        "C3",
        "an interrupted caller takes a place with it",
        "pool/sweep › interrupting any operation in any state at any turn loses nothing (sample)",
        "pool/ConnectionLimit › A1 interruption at any instant loses no slot",
        "pool/hookMatrix › whatever the hooks do, every caller settles and nothing is lost (sample)"
      ),
      covered(
        "C4",
        "an idle connection that dies takes its place with it, or wakes nobody",
        "pool/CachePool.health › A9 retire re-checks demand: a waiter whose connection retires during its validation gets another",
        "pool/CachePool.waiting › C4 dead idle connections only: the finder connects, however many they were"
      ),
      covered(
        "C5",
        "a limit below the pool keeps those who wait for it from what comes back above it",
        "pool/CachePool.waiting › A6 512 workers behind a limit of 64 make progress by reuse",
        "pool/CachePool.waiting › A6 a caller whose connect waits for a limit is served by a returned connection"
      ),
      covered(
        "C6",
        "the line of waiters grows without bound",
        "pool/CachePool.waiting › A7 bounds the line: beyond it QueueFull at once",
        "http/HttpPool.limits › refuses at once whoever would make the line of an origin longer"
      ),
      covered(
        "C7",
        "after a storm of callers there is less room than before",
        "pool/CachePool.limits › A3 a burst of a thousand callers leaves the pool able to lend maxSize connections"
      ),
      covered(
        "C8",
        "keys accumulate",
        "pool/MapPool.keys › M3 many new keys in one turn: never more than maxKeys at any instant",
        "http/HttpPool.limits › holds for 300 origins together, however many connections they had in turn",
        "pool/compositions › 1,000 keys through a cap of 20 connections and 50 keys: the cap holds, no key starves, nothing is left"
      ),
      notHere(
        "C9",
        "the size is changed up and down in quick succession",
        "A pool cannot be resized. What can change while it lives, the capacity of a shared connection and the slots of a fleet, is under C10 and in the tests of `ConnectionLimit`."
      ),
      covered(
        "C10",
        "a server lowers its limit of streams below what is in use",
        "pool/SharedPool.concurrency › H1 lowered below what is in use: nobody is disturbed, and nobody admitted until it is less",
        "http/fault/http2.limits › follows a limit that is lowered below what is in use"
      ),
      covered(
        "C11",
        "whoever has a connection waits for another one of the same pool",
        "pool/CachePool.waiting › A7 turns a borrower that waits for itself into an error"
      )
    ]
  },
  {
    title: "D. Time",
    modes: [
      covered(
        "D1",
        "somebody sets the clock back",
        "pool/ExpirePool › E3 back expires nothing early",
        "pool/ExpirePool › E3 back expires nothing never: what is idle goes within its time from when that was noticed",
        "pool/CachePool.waiting › A7 measures time that nobody can set: a wall clock that jumps neither ends a wait nor extends it"
      ),
      covered(
        "D2",
        "the machine slept and the clock is far ahead",
        "pool/CachePool.health › A9 judges idleness by the wall clock: after an hour's sleep of the machine a connection is validated",
        "pool/ExpirePool › E2 between two looks the guard keeps what has expired from being lent"
      ),
      covered(
        "D3",
        "expiry races a loan",
        "pool/ExpirePool › E2 a connection that expires on its way to a waiter is not lent to it",
        "pool/ExpirePool › E2 a used one of that age is not closed under its borrower, but when it comes back"
      ),
      covered(
        "D4",
        "a shared connection expires while it is used",
        "pool/ExpirePool › E2 a shared connection that has expired drains: its borrowers finish, newcomers get another one"
      ),
      covered(
        "D5",
        "all connections expire at the same time",
        "pool/ExpirePool › E1 jitter shortens lifetimes by at most its share, each connection's by another"
      ),
      covered(
        "D6",
        "refilling the minimum becomes a storm",
        "pool/CachePool.limits › C5 a peer that is down is tried under the backoff, one attempt at a time, never in a storm",
        "pool/CachePool.limits › C5 nothing is opened after demand has ended and the minimum is there"
      ),
      covered(
        "D7",
        "a timer is left running",
        "pool/atRest › A10 nothing runs after the close of a pool that was ${state}",
        "pool/drain › A8 A10 leaves no timer where all there is closes at once",
        "pool/drain › A8 A10 leaves no timer where borrowers return before the deadline",
        "pool/ExpirePool › E3 A10 ends with the scope"
      ),
      covered(
        "D8",
        "the server's hint about idle time becomes a limit for requests",
        "http/Http1Connection.faults › is not shortened by a keep-alive hint"
      ),
      covered(
        "D9",
        "each phase of a checkout has its own deadline, so that together they have none",
        "pool/CachePool.waiting › A7 is one budget for waiting, then validating, then connecting",
        "pool/CachePool.waiting › A7 the peer never answers: an error at the deadline",
        "http/soak/soak › loses nothing in a few seconds of load and faults"
      )
    ]
  },
  {
    title: "E. Failed connects, backoff, addresses",
    modes: [
      covered(
        "E1",
        "the server is down and everybody connects",
        "pool/CachePool.backoff › C7 while the peer fails one attempt at a time finds out whether it is back",
        "pool/CachePool.backoff › C7 after a failed attempt the next starts when it allows, whatever the number of waiters"
      ),
      covered(
        "E2",
        "under contention connections are opened and thrown away",
        "pool/CachePool.connect › C2 a connect that nobody needs any more becomes idle",
        "pool/ConnectionLimit › M4 a caller that comes, leaves and comes again while a close is under way costs one connection"
      ),
      covered(
        "E3",
        "nobody answers a connect, or a step of it",
        "http/SocketConnector › ends an attempt that nobody answers",
        "http/SocketConnector › is one deadline for a server that accepts and never speaks TLS",
        "http/SocketConnector › covers the lookup, 10 seconds by default"
      ),
      coveredBut(
        "E4",
        "the other end of a connection is gone and nothing says so",
        "Over HTTP/1.1 by `headersTimeout` and `bodyTimeout`, over HTTP/2 by PING.",
        "http/fault/http2.silence › ${name} loses the connection in time, with all that is on it",
        "http/fault/http1.reuse › ${name} fails the request in time, once, and no other one"
      ),
      covered(
        "E5",
        "requests that were given up hide that their connection is dead",
        "http/fault/http2.silence › since requests were given up loses the connection too, by one PING",
        "http/fault/http2.silence › requests that are begun and given up all the time do not keep a dead connection alive"
      ),
      covered(
        "E6",
        "a lookup fails, throws, or finds nothing",
        "http/SocketConnector › fails with Dns where a resolver finds nothing",
        "pool/BalancePool › B1 the failure of the stream keeps the last list",
        "pool/Addresses › is a lookup, whose lies keep the last good list"
      ),
      covered(
        "E7",
        "the addresses of a service change",
        "pool/BalancePool › B1 connections of a removed address retire: idle ones at once, used ones on return",
        "http/HttpPool.addresses › follows the list: an address that is gone is left, one that is back is used"
      ),
      covered(
        "E8",
        "one address of many is bad",
        "pool/BalancePool › B4 a connect that fails goes on to another address at once; its caller does not notice",
        "http/HttpPool.addresses › serves every request although one address refuses, one is no address, and one proves another name"
      ),
      covered(
        "E9",
        "one family of addresses does not work",
        "http/SocketConnector › tries all addresses that the Dns service gives",
        "http/fault/connect › one that does not answer holds a connect up for a moment only"
      ),
      covered(
        "E10",
        "requests are sent again without bound",
        "http/HttpRequest.replay › once after a loss, however often it moved on before",
        "http/fault/http2.goaway › for ever is bounded, and no matter to other requests"
      ),
      covered(
        "E11",
        "the connector throws",
        "pool/CachePool.connect › a connector that throws fails its caller with that defect instead of hanging"
      )
    ]
  }
]
