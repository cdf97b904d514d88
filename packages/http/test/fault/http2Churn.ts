/** A program: the churn over HTTP/2. */
import { http2Pool } from "./client.ts"
import { main } from "./churn.ts"
import { startFaultServer } from "./faultServer.ts"
import {
  body,
  cut,
  data,
  delay,
  ended,
  fin,
  goaway,
  head,
  type Http2Scenario,
  ok,
  ping,
  rst,
  type Script,
  settings,
  trailers
} from "./http2Script.ts"

const size = 120_000
const half = [head(200, { "content-length": "{length}" }), data("/")]

/** 14 things that a server may do with a request. */
const actions: Record<string, Script> = {
  ok,
  large: [ended, head(), body(size, { end: true })],
  slow: [ended, head(103), head(), delay(1), data("{path}"), delay(1), trailers({ x: "y" })],
  refused: [rst(7)],
  failed: [ended, rst(2)],
  cancelled: [ended, ...half, delay(1), rst(8)],
  short: [ended, head(), body(size / 2), rst(11)],
  unseen: [ended, head(), body(size / 2), rst(0)],
  goodbye: [goaway("latest"), ...ok],
  turnedAway: [goaway("others"), delay(2), fin],
  broken: [ended, goaway("latest", 2), fin],
  limited: [settings([3, 2]), ...ok, delay(3), settings([3, 100]), ping],
  closed: [ended, ...half, fin],
  reset: [ended, ...half, delay(1), cut]
}
/** Those that end a connection are drawn less often than the others: they end the requests of others too. */
const severe = new Set(["goodbye", "turnedAway", "broken", "closed", "reset"])
const names = Object.keys(actions).flatMap((name) => (severe.has(name) ? [name] : [name, name, name]))
/** A request that is refused is sent once more, and one that a GOAWAY does not name moves on for some time. */
const mostTimes: Record<string, number> = { refused: 2, turnedAway: 22 }
const large = "x".repeat(size)

await main<Http2Scenario>(startFaultServer("./http2Server.ts"), {
  scenario: { connections: [{ settings: [[3, 6]] }], requests: actions },
  pool: (target) =>
    http2Pool({ pool: (pool) => pool }, target, { maxSize: 4, headersTimeout: 3_000, bodyTimeout: 3_000 }),
  names,
  whole: (name, path) => (name === "large" || name === "short" || name === "unseen" ? large : path),
  undetectable: new Set(["unseen"]),
  mostTimes: (name) => mostTimes[name] ?? 1
})
