import { ConnectionLost, type HttpErrorReason, InvalidResponse, RequestRefused } from "../HttpError.ts"

/** The error codes of RFC 9113, section 7, in their order. */
const names = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED"
]

export const nameOf = (code: number): string => names[code] ?? `H2_${code}`

/** What is known about a stream that ended without its response. */
export interface Ending {
  /** `undefined`: it was never sent. */
  readonly id: number | undefined
  readonly rstCode: number
  readonly error: unknown
  readonly responseStarted: boolean
  /** Of the connection: what the server's GOAWAY said, if one came. */
  readonly goaway: { readonly code: number; readonly lastStreamId: number } | undefined
  /** Of the connection: it has ended, maybe with an error. */
  readonly ended: boolean
  readonly failure: unknown
}

/** Protocol errors: of the server as nghttp2 saw it, or of this side as the server saw it. Node does not tell which. */
const violations: Record<string, string> = {
  PROTOCOL_ERROR: "one side found that the other breaks the protocol",
  FLOW_CONTROL_ERROR: "one side found that the other sent more than it may",
  FRAME_SIZE_ERROR: "one side found that the other sent a frame of a wrong size",
  COMPRESSION_ERROR: "one side could not decompress the headers of the other",
  ENHANCE_YOUR_CALM: "its headers are larger than maxHeaderBytes, or the server was sent too much"
}

/**
 * Sorts the end of a stream. Ids come first: when a GOAWAY carries an error,
 * node gives every stream the same code, whether the server acted on it or not.
 */
export const reasonOf = (ending: Ending): HttpErrorReason => {
  const { error, failure, goaway, id, responseStarted, rstCode } = ending
  // node tells the streams first that the connection has failed.
  const cause = failure ?? error
  const code = codeOf(cause)
  if (id === undefined) return new ConnectionLost({ code: code ?? "CLOSED", cause })
  if (goaway !== undefined) {
    if (id > goaway.lastStreamId && !responseStarted) {
      return new RequestRefused({ code: "GOAWAY", graceful: goaway.code === 0 && goaway.lastStreamId > 0 })
    }
    if (goaway.code !== 0) return new ConnectionLost({ code: nameOf(goaway.code), cause })
  }
  // Before the end of the connection is looked at, which may come in the same turn. Never a guess of nghttp2's.
  if (nameOf(rstCode) === "REFUSED_STREAM" && !responseStarted) {
    return new RequestRefused({ code: "REFUSED_STREAM", graceful: false })
  }
  if (code === "ERR_HTTP2_ERROR") {
    return new InvalidResponse({ code, detail: "the server does not speak HTTP/2 as it should", cause })
  }
  if (code !== undefined && code !== "ERR_HTTP2_STREAM_ERROR") return new ConnectionLost({ code, cause })
  if (ending.ended) return new ConnectionLost({ code: "CLOSED", cause })
  const name = nameOf(rstCode)
  const detail = violations[name]
  return detail === undefined
    ? new ConnectionLost({ code: name, cause })
    : new InvalidResponse({ code: name, detail, cause })
}

const codeOf = (cause: unknown): string | undefined => {
  if (typeof cause !== "object" || cause === null) return undefined
  if ("code" in cause && typeof cause.code === "string") return cause.code
  return cause instanceof Error ? cause.name : undefined
}
