import {
  ConnectionLost,
  type HttpErrorReason,
  InvalidRequest,
  InvalidResponse,
  RequestBodyFailed
} from "../HttpError.ts"

/** What undici says when bytes come that no request asked for. */
const unexpected = new Set(["bad response", "bad upgrade"])

/** Sorts an error of undici or of the socket underneath. */
export const reasonOf = (error: Error): HttpErrorReason => {
  if (error instanceof RequestBodyFailed) return error
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name
  switch (code) {
    case "UND_ERR_INVALID_ARG":
    case "UND_ERR_NOT_SUPPORTED":
    case "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH":
      return new InvalidRequest({ detail: error.message })
    case "UND_ERR_HEADERS_OVERFLOW":
      return new InvalidResponse({ code, detail: "its headers are larger than maxHeaderBytes" })
    case "UND_ERR_RES_CONTENT_LENGTH_MISMATCH":
      return new InvalidResponse({ code, detail: "its body is not as long as content-length says" })
    case "UND_ERR_SOCKET":
      return unexpected.has(error.message)
        ? new InvalidResponse({ code, detail: "it was not asked for" })
        : new ConnectionLost({ code, cause: error })
  }
  if (error.name === "HTTPParserError") {
    // Not the error itself: it holds the bytes that could not be parsed. It has a code only in theory.
    const detail = /\((.*)\)$/.exec(error.message)?.[1] ?? "it is not HTTP/1.1"
    return new InvalidResponse({ code: "UND_ERR_HTTP_PARSER", detail })
  }
  return new ConnectionLost({ code, cause: error })
}
