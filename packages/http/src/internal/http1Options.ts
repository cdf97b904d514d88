import type { Http1Options } from "../Http1Connection.ts"
import type { Limits } from "./exchange.ts"
import { integer, millis } from "./options.ts"

const module = "Http1Connection"

/** Applies the defaults and throws on a bad value, so that a pool finds it when it is made. */
export const resolve = (options: Http1Options) => {
  const limits: Limits = {
    headersTimeout: millis(module, "headersTimeout", options.headersTimeout, 300_000),
    bodyTimeout: millis(module, "bodyTimeout", options.bodyTimeout, 300_000),
    drainTimeout: millis(module, "drainTimeout", options.drainTimeout, 100),
    maxInformational: integer(module, "maxInformational", options.maxInformational, 10, 0),
    maxDrainBytes: integer(module, "maxDrainBytes", options.maxDrainBytes, 65_536, 0)
  }
  return {
    limits,
    margin: millis(module, "keepAliveMargin", options.keepAliveMargin, 2_000),
    maxHeaderSize: integer(module, "maxHeaderBytes", options.maxHeaderBytes, 16_384, 1)
  }
}
