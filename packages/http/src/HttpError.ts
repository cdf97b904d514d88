/**
 * Why an HTTP exchange failed, and what is known for a second try.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"

/**
 * The request cannot be sent as it is: a header, path or method that is not
 * allowed, a body of another length than declared.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRequest extends Data.TaggedError("InvalidRequest")<{ readonly detail: string }> {
  override get message(): string {
    return `the request is not valid: ${this.detail}`
  }
}

/**
 * The stream that is the request's body failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyFailed extends Data.TaggedError("RequestBodyFailed")<{ readonly cause: unknown }> {
  override get message(): string {
    return "the stream of the request body failed; the cause has the details"
  }
}

/**
 * The connection ended before the response was complete. `code` is Node's or
 * undici's, such as `ECONNRESET` or `UND_ERR_SOCKET`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Data.TaggedError("ConnectionLost")<{
  readonly code: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `the connection was lost (${this.code})`
  }
}

/**
 * The server did not act on the request and says so: an HTTP/2 stream that was
 * refused (`code` is `REFUSED_STREAM`), or that is above the last one of a
 * `GOAWAY`. `graceful`: the connection goes away without an error after it
 * served others, as with servers that serve so many requests on one.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestRefused extends Data.TaggedError("RequestRefused")<{
  readonly code: string
  readonly graceful: boolean
}> {
  override get message(): string {
    return `the server refused the request (${this.code})`
  }
}

/**
 * The server was silent for too long, while its headers (`headersTimeout`) or
 * more of its body (`bodyTimeout`) were due.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResponseTimeout extends Data.TaggedError("ResponseTimeout")<{
  readonly phase: "headers" | "body"
  readonly after: Duration.Duration
}> {
  override get message(): string {
    return (
      `no ${this.phase === "headers" ? "response headers" : "more of the response body"} after ` +
      `${Duration.format(this.after)}; check the server, or raise ${this.phase}Timeout`
    )
  }
}

/**
 * The peer does not follow the protocol, or exceeds a bound.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidResponse extends Data.TaggedError("InvalidResponse")<{
  readonly code: string
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `the response is not valid (${this.code}): ${this.detail}`
  }
}

/**
 * The response body cannot be read: somebody has read it, or dropped it.
 *
 * @category errors
 * @since 0.1.0
 */
export class BodyUnavailable extends Data.TaggedError("BodyUnavailable")<{ readonly why: "read" | "dropped" }> {
  override get message(): string {
    return this.why === "read"
      ? "the response body was read already; it can be read once"
      : "the response body was dropped; read it before its scope closes"
  }
}

/**
 * The response body is not JSON. The cause, of `JSON.parse`, quotes some of it.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidJson extends Data.TaggedError("InvalidJson")<{ readonly cause: unknown }> {
  override get message(): string {
    return "the response body is not JSON; the cause has the details"
  }
}

/**
 * Why an exchange failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type HttpErrorReason =
  | InvalidRequest
  | RequestBodyFailed
  | ConnectionLost
  | RequestRefused
  | ResponseTimeout
  | InvalidResponse
  | BodyUnavailable
  | InvalidJson

/**
 * An exchange failed. `authority` is the server's `host:port`; paths, queries,
 * headers and bodies may hold secrets and are not part of it, but for what the
 * cause of `InvalidJson` quotes and the stream of a request's body fails with.
 *
 * **Details**
 *
 * `sent` is `"none"` only where it is certain that not one byte of the request
 * was written or that the server did not act on it, so that any request may be
 * tried again. `responseStarted` says
 * that a byte of the response came, so that the server has acted on it.
 *
 * Catch it with `Effect.catchTag("HttpError", …)`, or one reason with
 * `Effect.catchReason("HttpError", "ConnectionLost", …)`.
 *
 * @category errors
 * @since 0.1.0
 */
export class HttpError extends Data.TaggedError("HttpError")<{
  readonly method: string
  readonly authority: string
  readonly reason: HttpErrorReason
  readonly sent: "none" | "maybe"
  readonly responseStarted: boolean
}> {
  override get message(): string {
    const progress =
      this.sent === "none" ? "; nothing was sent" : this.responseStarted ? "; the response had started" : ""
    return `${this.method} ${this.authority}: ${this.reason.message}${progress}`
  }
}
