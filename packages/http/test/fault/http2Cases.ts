/** Answers of an HTTP/2 server, right and wrong, and what becomes of them. */
import { ErrorCode, FrameType } from "./frames.ts"
import {
  body,
  cut,
  data,
  ended,
  fin,
  frame,
  goaway,
  head,
  ok,
  ping,
  rst,
  type Script,
  settings,
  trailers
} from "./http2Script.ts"

export interface Case {
  readonly script: Script
  /** The body that the caller gets, or the reason of the error and its code. */
  readonly outcome: { readonly text: string } | { readonly reason: string; readonly code?: string }
  /** Whether the caller learns that an answer had begun when it failed. Default true. */
  readonly started?: boolean | "perhaps"
  /** The fault concerns the first attempt only. */
  readonly once?: boolean
  /** How often the request is written. Default 1. */
  readonly times?: number
  /** What the fault leaves of another request that is under way, and of the connection for the next one. */
  readonly spares: "all" | "streams" | "nothing"
}

const lost = (code?: string) => ({ reason: "ConnectionLost", ...(code !== undefined && { code }) })
const invalid = (code?: string) => ({ reason: "InvalidResponse", ...(code !== undefined && { code }) })

const ends = (outcome: Case["outcome"], script: Script, spares: Case["spares"] = "all"): Case => ({
  script: [ended, ...script],
  outcome,
  spares
})
const whole = (script: Script, spares: Case["spares"] = "all"): Case => ends({ text: "ok" }, script, spares)
const silent = (found: Case): Case => ({ ...found, started: false })

const rejected = (script: Script): Case => silent(ends(invalid(), script))

/** The head is refused by node or after it, depending on whether it knows our bound yet. */
const flooded = (script: Script): Case => ({ ...ends(invalid(), script), started: "perhaps" })

const answer: Script = [head(200, { "content-length": "2" }), data("ok", { end: true })]

/** G4, G5, G6: a stream that is reset, by every code, before and after the head. */
const codes: Record<string, number> = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  ENHANCE_YOUR_CALM: 11,
  HTTP_1_1_REQUIRED: 13,
  H2_4096: 4_096
}
const violations = new Set(["PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "ENHANCE_YOUR_CALM"])
const reset = (name: string): Case["outcome"] => (violations.has(name) ? invalid(name) : lost(name))
const resets: Record<string, Case> = Object.fromEntries(
  Object.entries(codes).flatMap(([name, code]): Array<[string, Case]> => {
    const before = silent(ends(reset(name), [rst(code)]))
    const refused = { ...before, outcome: { reason: "RequestRefused", code: name }, times: 2 }
    return [
      [`RST_STREAM ${name} before the head`, name === "REFUSED_STREAM" ? refused : before],
      // Before the whole request is in.
      [`RST_STREAM ${name} at once`, { ...(name === "REFUSED_STREAM" ? refused : before), script: [rst(code)] }],
      // A body without a length that ends like this cannot be told from a whole one.
      [`RST_STREAM ${name} after the head`, ends(name === "NO_ERROR" ? { text: "" } : reset(name), [head(), rst(code)])]
    ]
  })
)

/** G1, G2, G6: a connection that goes away before an answer is there. */
const departures: Record<string, Case> = {
  "a FIN before the head": silent(ends(lost(), [fin], "nothing")),
  "a RST before the head": silent(ends(lost(), [cut], "nothing")),
  "GOAWAY, and the answer": whole([goaway("this"), ...answer], "streams"),
  "the answer, and GOAWAY": whole([...answer, goaway("this")], "streams"),
  "GOAWAY twice, and the answer": whole([goaway("max"), goaway("this"), ...answer], "streams"),
  "GOAWAY that names streams to come, and the answer": whole([goaway("max"), ...answer], "streams"),
  "GOAWAY and SETTINGS that allow no stream, and the answer": whole(
    [goaway("this"), settings([3, 0]), ...answer],
    "streams"
  ),
  "GOAWAY that does not name the request": {
    ...silent(ends({ text: "/case/1" }, [goaway("others")], "streams")),
    once: true,
    times: 2
  },
  "GOAWAY with an error that names the request": silent(
    ends(lost("INTERNAL_ERROR"), [goaway("this", ErrorCode.internalError), fin], "nothing")
  ),
  "GOAWAY with an error that does not name the request": {
    ...silent(ends({ text: "/case/1" }, [goaway("others", ErrorCode.enhanceYourCalm), fin], "nothing")),
    once: true,
    times: 2
  },
  "GOAWAY, and a FIN": silent(ends(lost(), [goaway("this"), fin], "nothing"))
}

/** G7: bodies that are cut short, and bodies of another length than declared. */
const lengths: Record<string, Case> = {
  "a body shorter than declared": ends(invalid(), [head(200, { "content-length": "5" }), data("abc", { end: true })]),
  "no body where one is declared": rejected([head(200, { "content-length": "5" }, { end: true })]),
  "a body longer than declared": ends(
    invalid(),
    [head(200, { "content-length": "3" }), data("abcde", { end: true })],
    "nothing"
  ),
  "two lengths": rejected([head(200, { "content-length": ["2", "3"] }), data("ok", { end: true })]),
  "a length that is no number": rejected([head(200, { "content-length": "0x2" }), data("ok", { end: true })])
}

/** G15: what a server must not do on a connection. All that is on it fails, once. */
const breaches: Record<string, Script> = {
  "DATA on the connection": [frame(FrameType.data, 0, "00")],
  "HEADERS on a stream that was never opened": [head(200, {}, { stream: 1_001 })],
  "HEADERS on a stream of its own": [head(200, {}, { stream: 2 })],
  "DATA before the head": [data("ok", { end: true })],
  "a CONTINUATION without HEADERS": [frame(FrameType.continuation, 4, "88")],
  "a field of no table": [frame(FrameType.headers, 4, "ff7f")],
  "a field that is cut off": [frame(FrameType.headers, 4, "000a61")],
  "SETTINGS on a stream": [frame(FrameType.settings, 0, "000300000001")],
  "a window that grows too large": [
    frame(FrameType.windowUpdate, 0, "7fffffff"),
    frame(FrameType.windowUpdate, 0, "7fffffff")
  ],
  PUSH_PROMISE: [frame(FrameType.pushPromise, 4, "0000000288")],
  "a PING of three bytes": [frame(FrameType.ping, 0, "000000")],
  "a RST_STREAM of three bytes": [frame(FrameType.rst, 0, "000000")]
}

/** G20: heads that are not those of a response. node does not tell that one came. */
const heads: Record<string, Case> = {
  "no status": rejected([head(null, { a: "b" }), data("ok", { end: true })]),
  "a status that is no number": rejected([head(null, { ":status": "abc" }), data("ok", { end: true })]),
  "a header in upper case": rejected([head(200, { A: "b" }), data("ok", { end: true })]),
  connection: rejected([head(200, { connection: "close" }), data("ok", { end: true })]),
  "a pseudo-header of requests": rejected([head(200, { ":path": "/" }), data("ok", { end: true })]),
  "a pseudo-header after others": rejected([head(null, { a: "b", ":status": "200" }), data("ok", { end: true })]),
  // node leaves the header out.
  "a line break in a value": whole([head(200, { a: "b\r\nc: d" }), data("ok", { end: true })]),
  "101": rejected([head(101), ...answer]),
  "an informational response that ends the stream": rejected([head(103, {}, { end: true })]),
  "a second head in the body": ends(invalid(), [head(), data("ok"), head(), data("ok", { end: true })]),
  "trailers with a status": ends(invalid(), [head(), data("ok"), trailers({ ":status": "200" })]),
  trailers: whole([head(200, { trailer: "x" }), data("ok"), trailers({ x: "y" })])
}

/** G9 of the wire: what has no end. */
const floods: Record<string, Case> = {
  "a flood of informational responses": ends(invalid("TOO_MANY_INFORMATIONAL"), [
    ...Array.from({ length: 11 }, () => head(103)),
    ...answer
  ]),
  "as many informational responses as are allowed": whole([...Array.from({ length: 10 }, () => head(103)), ...answer]),
  "a flood of headers": flooded([head(200, flood(400), { fragments: 3 }), ...answer.slice(1)]),
  "one large header": flooded([head(200, { x: "x".repeat(20_000) }, { fragments: 2 }), ...answer.slice(1)]),
  "a head in some pieces": whole([head(200, flood(5), { fragments: 8 }), data("ok", { end: true })]),
  "a head in very many pieces": silent(ends(invalid(), [head(200, flood(5), { fragments: 200 })], "nothing")),
  "many empty DATA frames": whole([head(), ...Array.from({ length: 300 }, () => data("")), data("ok", { end: true })]),
  "many PINGs": whole([...Array.from({ length: 300 }, () => ping), ...answer]),
  "many SETTINGS": whole([...Array.from({ length: 30 }, () => settings([4, 65_535])), ...answer]),
  "frames of a type that nobody knows": whole([frame(200, 0, "00ff"), frame(201), ...answer])
}

function flood(n: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: n }, (_, i) => [`x-${i}`, "x".repeat(50)]))
}

/** G19: what comes after the end. */
const late: Record<string, Case> = {
  "DATA after the end": whole([...answer, data("late")]),
  "DATA after a reset": silent(ends(lost("CANCEL"), [rst(8), data("late")])),
  "RST_STREAM after the end": whole([...answer, rst(8)]),
  "RST_STREAM twice": silent(ends(lost("CANCEL"), [rst(8), rst(8)])),
  "WINDOW_UPDATE after the end": whole([...answer, frame(FrameType.windowUpdate, 0, "00000001")])
}

export const answers: Record<string, Case> = {
  "a plain answer": { script: ok, outcome: { text: "/case/1" }, spares: "all" },
  "a body in several frames": whole([head(), data("o"), data(""), data("k"), data("", { end: true })]),
  "a large body": { ...whole([head(), body(500_000, { end: true })]), outcome: { text: "x".repeat(500_000) } },
  ...resets,
  ...departures,
  ...lengths,
  ...Object.fromEntries(
    Object.entries(breaches).map(([name, script]) => [name, silent(ends(invalid(), script, "nothing"))])
  ),
  ...heads,
  ...floods,
  ...late
}
