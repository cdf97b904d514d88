import type { Http2Options } from "../Http2Connection.ts"
import type { Limits } from "./exchange.ts"
import { integer, millis } from "./options.ts"

const module = "Http2Connection"

/** The options of a connection with their defaults. Times are milliseconds. */
export type Settings = ReturnType<typeof resolve>

/** The largest window that the protocol knows. */
const maxWindow = 2 ** 31 - 1

/** Applies the defaults and throws on a bad value, so that a pool finds it when it is made. */
export const resolve = (options: Http2Options) => {
  const limits: Limits = {
    headersTimeout: millis(module, "headersTimeout", options.headersTimeout, 300_000),
    bodyTimeout: millis(module, "bodyTimeout", options.bodyTimeout, 300_000),
    drainTimeout: millis(module, "drainTimeout", options.drainTimeout, 100),
    maxInformational: integer(module, "maxInformational", options.maxInformational, 10, 0),
    maxDrainBytes: integer(module, "maxDrainBytes", options.maxDrainBytes, 65_536, 0)
  }
  return {
    limits,
    maxConcurrentStreams: integer(module, "maxConcurrentStreams", options.maxConcurrentStreams, 1_000, 1),
    maxHeaderBytes: integer(module, "maxHeaderBytes", options.maxHeaderBytes, 16_384, 1),
    maxResets: integer(module, "maxResets", options.maxResets, 100, 1),
    pingInterval: atLeastOne("pingInterval", millis(module, "pingInterval", options.pingInterval, 60_000)),
    pingTimeout: atLeastOne("pingTimeout", millis(module, "pingTimeout", options.pingTimeout, 15_000)),
    streamWindow: window("streamWindow", options.streamWindow, 262_144),
    connectionWindow: window("connectionWindow", options.connectionWindow, 1_048_576)
  }
}

/** Both windows start at this size in the protocol; a smaller one would only cost round trips. */
const minWindow = 65_535

const window = (name: string, value: number | undefined, fallback: number): number => {
  const n = integer(module, name, value, fallback, minWindow)
  if (n <= maxWindow) return n
  throw new RangeError(`${module}: ${name} must be at most ${maxWindow}, got ${n}`)
}

const atLeastOne = (name: string, n: number): number => {
  if (n >= 1) return n
  throw new RangeError(`${module}: ${name} must be at least 1 millisecond, got ${n}`)
}
