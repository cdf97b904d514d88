/** An `HttpPool` over connections without sockets, as the interruption sweep of pools wants it. */
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import * as ConnectionPool from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import type { ConnectError, Made, Rig } from "../../../pool/test/support/bench.ts"
import { at } from "../../../pool/test/support/kinds.ts"
import type { Dice } from "../../../pool/test/support/random.ts"
import { LabConnection, type LabServer } from "./labConnection.ts"

export type Http = HttpPool.HttpConnections<ConnectError>

export const origins = {
  a: Origin.make("https://a.test"),
  b: Origin.make("https://b.test"),
  c: Origin.make("https://c.test")
}

/** `made` gets the pool itself, which lends more than a `Made` tells. */
export const httpRig =
  (server: LabServer, dice: Dice, made: (http: Http) => void): Rig =>
  (options, variant, controls) => {
    const maxSize = 1 + dice.below(3)
    const expires = dice.oneIn(2)
    return Effect.map(
      HttpPool.make({
        connect: () =>
          Effect.map(options.connect(), (conn): HttpConnection => {
            if (controls.upgrades) controls.upgraded.add(conn)
            return new LabConnection(server, options, conn, controls.upgrades ? "h2" : "http/1.1")
          }),
        maxSize,
        maxSizePerOrigin: variant.maxSize,
        maxSharedPerOrigin: variant.maxSize,
        maxKeys: variant.maxKeys,
        saturation: variant.saturation,
        onAbandon: options.onAbandon,
        backoff: options.backoff as never,
        leakWarning: options.leakWarning,
        // Longer than a case lasts.
        idleTimeToLive: expires ? "1 hour" : Infinity,
        maxLifetime: Infinity
      }),
      (http) => {
        made(http)
        const conns = ConnectionPool.map(http, (connection) => (connection as LabConnection).conn)
        const lending = (origin: Origin.Origin) => at(conns, origin)
        return {
          pool: lending(origins.a),
          others: [lending(origins.b), lending(origins.c)],
          capacity: Math.min(maxSize, variant.maxSize),
          admits: (conn) => (controls.upgraded.has(conn) ? controls.most : 1),
          expires
        } satisfies Made
      }
    )
  }
