/** Groups H and I of the catalogue. */
import { covered, coveredBut, type Group } from "./mode.ts"

export const identity: ReadonlyArray<Group> = [
  {
    title: "H. Identity of a pooled connection",
    modes: [
      covered(
        "H1",
        "a certificate is wrong, expired, or of an unknown authority",
        "http/fault/tls › refuses a certificate, says why and keeps nothing: ${name}",
        "http/SocketConnector › refuses certificates that it should not trust"
      ),
      covered(
        "H2",
        "the server chooses another protocol than expected",
        "http/fault/tls › speaks what a server chose that speaks ${list}",
        'http/fault/tls › agrees on the first protocol of the server that it offered: ${offered?.join(", ") ?? "none"}'
      ),
      covered(
        "H3",
        "the key of a connection leaves out an attribute",
        "http/Origin › takes apart every attribute: whatever differs gives another key",
        "http/HttpPool.identity › never share a connection, and the same one is shared"
      ),
      covered(
        "H4",
        "two targets have the same key",
        "http/Origin › is equal exactly where all attributes are, in any combination",
        "pool/MapPool.keys › M1 keys are compared by structure"
      ),
      covered(
        "H5",
        "a key is put in under one form and looked for under another",
        "http/Origin › accepts what it gave: the canonical form is stable",
        "http/Origin › gives one form to all spellings of a URL"
      ),
      coveredBut(
        "H6",
        "a TLS session is resumed under another identity",
        "TLS sessions are never resumed.",
        "http/HttpPool.identity › are told apart by the server: own name, own certificate, own address, no resumed session",
        "http/HttpPool.identity › verify a server again for every connection"
      ),
      covered(
        "H7",
        "secrets show in keys, logs or errors",
        "http/HttpPool.identity › are in no error, event, stat, metric, key or log",
        "http/Origin › shows where the origin leads and none of its secrets, however one looks",
        "http/SocketConnector › keeps keys and passphrases out of its errors"
      ),
      covered(
        "H8",
        "one connection serves several authorities because its certificate covers them",
        "http/HttpPool.identity › have connections of their own though one certificate covers them all"
      ),
      covered(
        "H9",
        "the server shows another certificate in mid-connection",
        "http/fault/tls › fails when the server shows another certificate in mid-connection: ${name}"
      ),
      covered(
        "H10",
        "a host name that means different things to lookup, TLS and key",
        "http/Origin › either refuses a host or gives it a form that is safe everywhere"
      ),
      covered(
        "H11",
        "an option that is a function gets lost",
        "http/Http1Pool › passes TLS options by reference",
        "http/SocketConnector › calls checkServerIdentity, whose error ends the attempt"
      )
    ]
  },
  {
    title: "I. Shutdown, fairness, runtime",
    modes: [
      covered(
        "I1",
        "a pool closes while it is busy",
        "pool/drain › A8 borrowers may finish until the deadline, and drain ends when the last has",
        "pool/drain › A8 at the deadline connections close under their borrowers, whose bodies go on",
        "http/HttpPool.ending › lets ${kind} requests under way finish, fails the others, and leaves no connection"
      ),
      covered(
        "I2",
        "a pool closes while callers wait",
        "pool/drain › A8 closing it fails waiters and newcomers with Closed"
      ),
      covered(
        "I3",
        "a pool closes while it connects",
        "pool/drain › A8 callers that wait for a connect fail with Closed and the connect is cancelled",
        "pool/drain › A8 the connection of a connect that cannot be cancelled is closed, and drain waits for that"
      ),
      covered(
        "I4",
        "a pool is closed twice, or by two at once",
        "pool/drain › A8 drains twice, one after the other",
        "pool/drain › A8 drains twice at once: both wait for the end"
      ),
      covered(
        "I5",
        "a pool closes before those who use it",
        "pool/drain › A8 closing it closes everything, without the clock, while a borrower outside still holds",
        "pool/drain › A8 borrowers in the same scope return before the pool closes"
      ),
      covered(
        "I6",
        "a finalizer borrows",
        "pool/CachePool.limits › A4 borrowing from inside a close does not deadlock",
        "pool/drain › A8 borrowing from inside a close that drain began fails with Closed"
      ),
      covered(
        "I7",
        "a connection is invalidated while it is lent, and another one takes its place",
        "pool/CachePool.borrow › C6 invalidate closes the connection when its borrower returns it, not before",
        "pool/SingletonPool › S4 a lease of an earlier generation cannot clear a later one"
      ),
      covered(
        "I8",
        "a closed pool comes back to life",
        "pool/drain › A8 the closed pool makes nothing",
        "pool/drain › A8 a connect that opens in the same turn is closed"
      ),
      covered(
        "I9",
        "under load somebody waits for ever",
        "pool/CachePool.waiting › A6 waiters are served in arrival order",
        "pool/MapPool.limit › M4 no key starves while others have callers without end",
        "http/soak/soak › loses nothing in a few seconds of load and faults"
      ),
      covered(
        "I10",
        "the event loop stands still",
        "pool/interruptedWaits › A7 waiters whose connections died while the event loop stalled over their deadline time out all the same",
        "http/Http1Connection.faults › spares an answer that came while the event loop stood still",
        "http/Http2Connection.liveness › is not taken for dead by an event loop that stalled",
        "http/fault/timeouts › what came while the event loop stood still counts, also where it is only a part",
        "http/soak/soak › loses nothing in a few seconds of load and faults"
      ),
      covered(
        "I11",
        "a bad origin slows the others",
        "pool/compositions › a host whose connects hang or fail does not hold up the others",
        "http/soak/soak › loses nothing in a few seconds of load and faults"
      ),
      coveredBut(
        "I12",
        "an error event that nobody listens to ends the process",
        "After every test with a socket there must have been no uncaught exception, no unhandled rejection and no warning.",
        "http/SocketConnector › survives a reset after it has connected",
        "http/SocketConnector › survives a peer that breaks the protocol after the handshake"
      ),
      covered(
        "I13",
        "an observer throws",
        "pool/observers › ${callback} that throws is isolated: pool and other observers go on, a debug log says so"
      ),
      coveredBut(
        "I14",
        "node itself crashes",
        "Random runs and the soak are processes of their own whose exit code counts; a crash of node is told from a failure.",
        "http/fault/churn › settles every request of a random run, and mixes up, cuts short or leaks nothing, over ${protocol}"
      )
    ]
  }
]
