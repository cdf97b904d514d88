/** Groups F and G of the catalogue. */
import { covered, coveredBut, type Group } from "./mode.ts"

const answers1 = "http/fault/http1.answers › gives every request its own answer or an error: ${name}"
const answers2 = "http/fault/http2.answers › settles, and spares what the fault does not concern: ${name}"

export const wire: ReadonlyArray<Group> = [
  {
    title: "F. HTTP/1.1 on the wire",
    modes: [
      covered(
        "F1",
        "the server closes an idle connection in the moment in which it is used",
        "http/fault/http1.reuse › 0 to 5 ms around its reuse costs no GET",
        "http/fault/http1.reuse › 0 to 5 ms around its reuse lets no POST run twice",
        "http/fault/http1.reuse › as soon as it is used again, as all others do, costs no GET and runs no POST twice: ${name}"
      ),
      covered(
        "F2",
        "the first request of a connection fails",
        "http/HttpRequest › is not sent again if the connection was a fresh one"
      ),
      covered(
        "F3",
        "a server says that it will close, or speaks HTTP/1.0",
        "http/Http1Connection.reuse › is false when the server says or does something that forbids reuse"
      ),
      covered(
        "F4",
        "a server says for how long it keeps a connection",
        "http/Http1Connection.reuse › is false from two seconds before the end of the server's hint"
      ),
      covered(
        "F5",
        "a 408, or anything else, comes on an idle connection",
        "http/fault/http1.reuse › while it is idle is replaced without an error: ${name}"
      ),
      coveredBut(
        "F6",
        "an answer that nobody asked for is given to the next request",
        "See the known limits for what comes after the next request was written.",
        "http/fault/http1.reuse › while the event loop stands still poisons nothing",
        "http/Http1Connection.reuse › finds ${surprise} that came while the loop stood still, asked in the ${phase} phase"
      ),
      covered(
        "F7",
        "the answer comes before the request is complete",
        "http/fault/http1.reuse › reaches the caller, and the connection is not used again: ${name}"
      ),
      covered("F8", "a body is longer or shorter than declared", answers1),
      covered(
        "F9",
        "a malformed head, endless headers, endless informational answers",
        answers1,
        "http/Http1Connection.faults › is bounded by maxHeaderBytes and maxInformational",
        "http/fault/http1.fuzz › settles whatever bytes come, and poisons nothing"
      ),
      covered(
        "F10",
        "a body is left in the middle",
        "http/Http1Connection.drop › is one whose stream was left early",
        'http/fault/http1.reuse › ${kept ? "comes off the wire" : "costs the connection"}, and the next request is served: ${name}'
      ),
      covered(
        "F11",
        "a header, path or method carries a second request",
        "http/Http1Connection.faults › is rejected before a byte is written: ${name}",
        "http/fault/http1.fuzz › sends one request as it was meant or none at all, whatever strings it consists of"
      ),
      covered("F12", "an answer that can be read in two ways", answers1),
      coveredBut(
        "F13",
        "the connection switches protocols",
        "Requests with `upgrade` have connections of their own, which no pool sees again.",
        "http/PooledHttpClient.target › use no connection of the pool, and leave it usable",
        "http/dropIn/upgrade › hands over the connection, with what came after the head"
      ),
      covered("F14", "requests that are pipelined fail together", "http/Http1Connection › takes one request at a time")
    ]
  },
  {
    title: "G. HTTP/2 on the wire",
    modes: [
      covered(
        "G1",
        "GOAWAY without an error",
        "http/fault/http2.goaway › 0 to 5 ms around a reuse costs no request, and none runs twice",
        "http/fault/http2.goaway › lets what is under way finish, while new requests take a new connection"
      ),
      covered(
        "G2",
        "GOAWAY with an error",
        answers2,
        "http/Http2Connection.faults › with an error tells by id what was not acted on"
      ),
      covered(
        "G3",
        "a request is refused again and again",
        "http/fault/http2.goaway › for ever is bounded, and no matter to other requests",
        "http/fault/http2.goaway › on every connection costs at most two connections per request"
      ),
      covered(
        "G4",
        "a stream is refused",
        "http/fault/http2.goaway › once sends any request again, with its whole body",
        "http/fault/http2.goaway › does not send a stream again that may have been taken from"
      ),
      covered(
        "G5",
        "a stream is reset for another reason",
        answers2,
        "http/Http2Connection.pool › does not send again what the server may have acted on"
      ),
      covered(
        "G6",
        "a request never settles",
        "http/fault/churn › settles every request of a random run, and mixes up, cuts short or leaks nothing, over ${protocol}",
        answers2
      ),
      coveredBut(
        "G7",
        "a body that was cut short looks whole",
        "But for a reset with NO_ERROR and without `content-length`: see the known limits.",
        "http/fault/http2.truncation › never takes a part of a body for the whole: ${name}"
      ),
      covered(
        "G8",
        "the limit of streams changes, also to 0",
        "http/fault/http2.limits › follows a limit that the first SETTINGS set, and one that is raised",
        "http/fault/http2.limits › waits while a limit is 0, and goes on when it is raised",
        "http/fault/http2.limits › fails in time when a server allows no stream any more"
      ),
      covered(
        "G9",
        "requests before the server's first SETTINGS",
        "http/fault/http2.limits › sends no more than 100 requests before the first SETTINGS, and the rest after them"
      ),
      covered("G10", "GOAWAY and SETTINGS that allow no stream, in one packet", answers2),
      covered(
        "G11",
        "PINGs get lost, or flood",
        "http/fault/http2.silence › ${name} loses the connection in time, with all that is on it",
        "http/fault/http2.silence › a PING that is answered keeps a slow request alive"
      ),
      covered(
        "G12",
        "stream ids run out",
        "http/fault/http2.resets › moves to another connection when stream ids run out: ${left} left"
      ),
      covered(
        "G13",
        "requests that are given up look like an attack",
        "http/fault/http2.resets › given up again and again does not make a server angry",
        "http/fault/http2.resets › given up again and again costs no more than connections where the server is angry"
      ),
      covered(
        "G14",
        "a body that nobody reads holds up the others",
        "http/fault/http2.windows › that nobody reads holds up no other one",
        "http/fault/http2.windows › that is dropped gives its window back"
      ),
      coveredBut(
        "G15",
        "an error of the protocol on the connection",
        "On Node 22.19 only a PING finds it: see the known limits.",
        answers2
      ),
      covered(
        "G16",
        "the first requests open a connection each",
        "http/fault/http2.limits › opens one connection for a cold burst",
        "http/HttpPool.protocols › opens ${connections} connections to ${kind}${asked}"
      ),
      covered(
        "G17",
        "a dead connection is lent again",
        "http/Http2Connection.faults › retires the connection, and a request after it is not sent",
        answers2
      ),
      covered(
        "G18",
        "the limit of connections counts the protocols apart",
        "pool/compositions › M4 the cap holds over all hosts and kinds, and idle connections of other hosts make room",
        "pool/ConnectionLimit › A2 a cache and a shared pool under one limit"
      ),
      covered("G19", "data or an end after the answer is over", answers2),
      covered("G20", "trailers, headers and informational answers where they must not be", answers2)
    ]
  }
]
