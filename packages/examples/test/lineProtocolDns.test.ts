/**
 * Addresses from a real DNS server over UDP, which lies in every way it can,
 * through Effect's `Dns` for Node.
 */
import { NodeDns } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Addresses } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Dgram from "node:dgram"
import type { AddressInfo } from "node:net"
import { leakOracle } from "../../http/test/leakOracle.ts"

leakOracle()

/** The answer to a query; undefined for none. */
type Answer = (query: Buffer) => Buffer | undefined

const uint16 = (n: number): Buffer => Buffer.from([(n >> 8) & 0xff, n & 0xff])

const name = (text: string): Buffer =>
  Buffer.concat([
    ...text
      .split(".")
      .filter(Boolean)
      .map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0])
  ])

/** The question of a query, as it is repeated in the answer. */
const question = (query: Buffer): Buffer => {
  let at = 12
  while (query[at] !== 0) at += query[at]! + 1
  return query.subarray(12, at + 5)
}

interface Reply {
  readonly id?: number
  readonly code?: number
  readonly truncated?: boolean
  readonly counted?: number
  readonly records?: ReadonlyArray<Buffer>
}

const reply =
  ({ code = 0, counted, id, records = [], truncated = false }: Reply): Answer =>
  (query) =>
    Buffer.concat([
      uint16(id ?? query.readUInt16BE(0)),
      uint16(0x8180 | (truncated ? 0x0200 : 0) | code),
      uint16(1),
      uint16(counted ?? records.length),
      uint16(0),
      uint16(0),
      question(query),
      ...records
    ])

/** A record of the name that was asked for. */
const record = (type: number, data: Buffer): Buffer =>
  Buffer.concat([uint16(0xc00c), uint16(type), uint16(1), Buffer.from([0, 0, 0, 1]), uint16(data.length), data])

const srv = (target: string, port: number, priority = 0): Buffer =>
  record(33, Buffer.concat([uint16(priority), uint16(0), uint16(port), name(target)]))

const server = Effect.gen(function* () {
  let answer: Answer = () => undefined
  let asked = 0
  const socket = Dgram.createSocket("udp4")
  socket.on("message", (query, { address, port }) => {
    asked++
    const bytes = answer(query)
    if (bytes !== undefined) socket.send(bytes, port, address)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void socket.bind(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
  )
  return {
    port: (socket.address() as AddressInfo).port,
    asked: () => asked,
    say: (next: Answer) => {
      answer = next
    }
  }
})

const good = reply({ records: [srv("a.example.org", 1001), srv("b.example.org", 1002)] })

const lies: Readonly<Record<string, Answer>> = {
  "no answer": () => undefined,
  NXDOMAIN: reply({ code: 3 }),
  SERVFAIL: reply({ code: 2 }),
  REFUSED: reply({ code: 5 }),
  FORMERR: reply({ code: 1 }),
  "an empty answer": reply({}),
  "more records promised than given": reply({ counted: 9, records: [srv("a.example.org", 1001)] }),
  "an answer to another query": (query) =>
    reply({ id: query.readUInt16BE(0) ^ 1, records: [srv("x.example.org", 1)] })(query),
  "an answer without a question": (query) => Buffer.concat([query.subarray(0, 2), Buffer.alloc(10)]),
  // It is asked again over TCP, where nobody listens.
  "half an answer": reply({ truncated: true, records: [srv("a.example.org", 1001)] }),
  garbage: () => Buffer.from("not DNS at all, but some bytes"),
  "no bytes": () => Buffer.alloc(0),
  "a record that is too short": reply({ records: [record(33, Buffer.from([0, 0, 0]))] }),
  "records of another type": reply({ records: [record(1, Buffer.from([127, 0, 0, 1]))] }),
  "a target that says there is no such service": reply({ records: [srv(".", 0)] }),
  "a port that nobody can connect to": reply({ records: [srv("x.example.org", 0)] }),
  "the same twice, the other way round": reply({
    records: [srv("b.example.org", 1002), srv("a.example.org", 1001), srv("b.example.org", 1002)]
  })
}

describe("Addresses", () => {
  it.live(
    "keep the last good list whatever a DNS server answers, and take the next good one",
    () =>
      Effect.gen(function* () {
        const { asked, port, say } = yield* server
        say(good)
        const dns = yield* NodeDns.make({ nameServers: [`127.0.0.1:${port}`], timeout: "50 millis", tries: 1 })
        const lists: Array<string> = []
        yield* Effect.forkScoped(
          Addresses.fromSrv(dns.resolve("_line._tcp.example.org", "SRV"), {
            schedule: Schedule.spaced("100 millis"),
            retry: Schedule.spaced("100 millis"),
            timeout: "2 seconds"
          }).pipe(
            Stream.runForEach((list) =>
              Effect.sync(() =>
                lists.push(
                  list
                    .map(({ host, port }) => `${host}:${port}`)
                    .toSorted()
                    .join(" ")
                )
              )
            )
          )
        )
        /** Until the server was asked twice more, so that the first of them was answered for sure. */
        const askedTwice = Effect.suspend(() => {
          const before = asked()
          return Effect.repeat(Effect.sleep("5 millis"), { while: () => asked() < before + 2 })
        })
        yield* askedTwice
        const first = "a.example.org:1001 b.example.org:1002"
        assert.deepStrictEqual(lists, [first])
        for (const [what, lie] of Object.entries(lies)) {
          say(lie)
          yield* askedTwice
          assert.deepStrictEqual(lists, [first], what)
        }
        say(reply({ records: [srv("c.example.org", 1003), srv("d.example.org", 1004, 7)] }))
        yield* askedTwice
        assert.deepStrictEqual(lists, [first, "c.example.org:1003"])
      }).pipe(Effect.provide(Logger.layer([]))),
    60_000
  )
})
