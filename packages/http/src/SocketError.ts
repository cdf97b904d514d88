/**
 * Why a socket could not be opened.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"

/**
 * What an attempt to open a socket was doing.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "dns" | "connect" | "tls"

/**
 * The host name has no usable address. `code` is Node's or the resolver's,
 * such as `ENOTFOUND` or `NotFound`.
 *
 * @category errors
 * @since 0.1.0
 */
export class Dns extends Data.TaggedError("Dns")<{ readonly code: string; readonly cause?: unknown }> {
  override get message(): string {
    return `the host name was not resolved (${this.code}); check its spelling and the DNS server`
  }
}

/**
 * Nothing listens there.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Data.TaggedError("Refused")<{ readonly code: string; readonly cause?: unknown }> {
  override get message(): string {
    return `the connection was refused (${this.code}); check that the server runs and listens there`
  }
}

/**
 * The network or the kernel gave up.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unreachable extends Data.TaggedError("Unreachable")<{ readonly code: string; readonly cause?: unknown }> {
  override get message(): string {
    return `the address cannot be reached (${this.code}); check the network, the route and localAddress`
  }
}

/**
 * `connectTimeout` ended while the attempt was in `phase`.
 *
 * @category errors
 * @since 0.1.0
 */
export class Timeout extends Data.TaggedError("Timeout")<{
  readonly phase: Phase
  readonly after: Duration.Duration
}> {
  override get message(): string {
    const advice = {
      dns: "check the DNS server",
      connect: "check that a firewall does not drop packets",
      tls: "check that the port speaks TLS"
    }[this.phase]
    return `not connected after ${Duration.format(this.after)} (phase: ${this.phase}); ${advice}, or raise connectTimeout`
  }
}

/**
 * The TLS handshake failed. `code` is Node's, such as `CERT_HAS_EXPIRED`,
 * `DEPTH_ZERO_SELF_SIGNED_CERT` or `ERR_TLS_CERT_ALTNAME_INVALID`.
 *
 * @category errors
 * @since 0.1.0
 */
export class Tls extends Data.TaggedError("Tls")<{ readonly code: string; readonly cause?: unknown }> {
  override get message(): string {
    return `the TLS handshake failed (${this.code}); ${tlsAdvice(this.code)}`
  }
}

const tlsAdvice = (code: string): string => {
  switch (code) {
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return "check the dates of the server's certificate and the clock"
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "the certificate is for another name; check the host name and servername"
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "the certificate's issuer is not trusted; pass it as ca"
    case "NO_SERVERNAME":
      return "the socket's host name is not known; pass servername"
    default:
      return "check the certificates, the protocol versions and that the port speaks TLS"
  }
}

/**
 * The peer, or something between, closed the socket before it was ready.
 *
 * @category errors
 * @since 0.1.0
 */
export class Reset extends Data.TaggedError("Reset")<{
  readonly phase: Phase
  readonly code: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `the peer closed the connection (${this.code}, phase: ${this.phase}); check the server's log and its limits`
  }
}

/**
 * Anything else, such as an option that Node rejects or a socket path that
 * does not exist.
 *
 * @category errors
 * @since 0.1.0
 */
export class Other extends Data.TaggedError("Other")<{ readonly code: string; readonly cause?: unknown }> {
  override get message(): string {
    return `the connection failed (${this.code}); the cause has the details`
  }
}

/**
 * Why a socket could not be opened.
 *
 * @category errors
 * @since 0.1.0
 */
export type SocketErrorReason = Dns | Refused | Unreachable | Timeout | Tls | Reset | Other

/**
 * A socket could not be opened. `endpoint` is `host:port` or the socket path.
 * Options, and so keys and passphrases, are never part of it.
 *
 * Catch it with `Effect.catchTag("SocketError", …)`, or one reason with
 * `Effect.catchReason("SocketError", "Refused", …)`.
 *
 * @category errors
 * @since 0.1.0
 */
export class SocketError extends Data.TaggedError("SocketError")<{
  readonly endpoint: string
  readonly reason: SocketErrorReason
}> {
  override get message(): string {
    return `${this.endpoint}: ${this.reason.message}`
  }
}

const refused = new Set(["ECONNREFUSED"])
const unreachable = new Set(["EADDRNOTAVAIL", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ETIMEDOUT"])
const reset = new Set(["ECONNABORTED", "ECONNRESET", "EPIPE", "CLOSED"])

/**
 * Sorts an error of `node:net`, `node:tls` or `node:dns` into a reason.
 *
 * @category errors
 * @since 0.1.0
 */
export const reasonOf = (phase: Phase, cause: unknown): SocketErrorReason => {
  const code = codeOf(cause)
  if (phase === "dns") return new Dns({ code, cause })
  if (refused.has(code)) return new Refused({ code, cause })
  if (unreachable.has(code)) return new Unreachable({ code, cause })
  if (reset.has(code)) return new Reset({ phase, code, cause })
  return phase === "tls" ? new Tls({ code, cause }) : new Other({ code, cause })
}

const codeOf = (cause: unknown): string => {
  if (typeof cause === "object" && cause !== null) {
    if ("code" in cause && typeof cause.code === "string") return cause.code
    if ("reason" in cause && typeof cause.reason === "string") return cause.reason
    if ("_tag" in cause && typeof cause._tag === "string") return cause._tag
    if (cause instanceof Error) return cause.name
  }
  return "UNKNOWN"
}
