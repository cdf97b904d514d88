/**
 * A client of the line protocol: one queue of requests over connections that
 * are spread over all servers, each of which carries several requests at once.
 */
import { type Addresses, BalancePool, RequestQueue, SharedPool } from "@poolkit/pool"
import * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import { type Address, connect } from "./connection.ts"

const connections = 4
const requestsPerConnection = 16

export const makeClient = (addresses: Stream.Stream<ReadonlyArray<Addresses.HostPort>>) =>
  RequestQueue.make({
    pool: BalancePool.make({
      addresses,
      connect: (address: Address) => connect(address),
      connectionsPerAddress: connections / 2,
      setAside: Schedule.spaced("100 millis"),
      pool: (connect, { limit }) =>
        SharedPool.make({
          connect,
          limit,
          maxSize: connections,
          concurrency: requestsPerConnection,
          isOpen: (connection) => connection.isOpen(),
          watch: (connection, { retire }) => connection.onClose(retire)
        })
    }),
    send: (connection, line: string) => connection.send(line),
    concurrency: connections * requestsPerConnection,
    capacity: 1_000,
    // The queue sends again what was not sent; the rest is for whoever knows what is safe to repeat.
    isUnsent: (error) => error._tag === "LineError" && !error.sent,
    // The connection knows whose answer it may skip.
    reusable: () => true
  })
