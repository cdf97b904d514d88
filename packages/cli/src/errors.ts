/**
 * What went wrong, in one line: what it was, and what to check or change.
 *
 * @since 0.1.0
 */
import type { HttpError } from "@poolkit/http/HttpError"
import type { SocketError } from "@poolkit/http/SocketError"
import type { PoolError } from "@poolkit/pool/ConnectionPool"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as CliError from "effect/cli/CliError"

/**
 * No whole response came within `--timeout`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestTimeout extends Data.TaggedError("RequestTimeout")<{ readonly after: Duration.Duration }> {
  override get message(): string {
    return `no whole response within ${Duration.format(this.after)}`
  }
}

/**
 * Why a request failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RequestError = SocketError | HttpError | PoolError | RequestTimeout

/**
 * Ends the command with one line on stderr and exit status 1.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{ readonly line: string }> {
  /** Has the command runner print it, and nobody else. */
  override get [CliError.userMessage](): string {
    return this.line
  }
}

/**
 * Sorts failed requests for the list under the table.
 *
 * @category conversions
 * @since 0.1.0
 */
export const kindOf = (error: RequestError): string => {
  if (error._tag === "RequestTimeout") return error.message
  const { reason } = error
  return "code" in reason ? `${kinds[reason._tag]} (${reason.code})` : kinds[reason._tag]
}

const kinds: Record<Exclude<RequestError, RequestTimeout>["reason"]["_tag"], string> = {
  // Opening a connection.
  Dns: "name not resolved",
  Refused: "connection refused",
  Unreachable: "host unreachable",
  Timeout: "not connected in time",
  Tls: "TLS handshake failed",
  Reset: "connection closed before it was ready",
  Other: "connection failed",
  // Using it.
  ConnectionLost: "connection lost",
  RequestRefused: "request refused",
  ResponseTimeout: "no response in time",
  InvalidResponse: "invalid response",
  InvalidRequest: "invalid request",
  RequestBodyFailed: "request body failed",
  BodyUnavailable: "response body not available",
  InvalidJson: "response body is not JSON",
  // Borrowing it.
  WaitTimeout: "no connection in time",
  QueueFull: "too many requests in line",
  TooManyKeys: "too many origins",
  Closed: "pool closed"
}

/**
 * Says why an origin cannot be used, and what to check.
 *
 * @category conversions
 * @since 0.1.0
 */
export const explain = (origin: string, error: RequestError): string => {
  const reason = error._tag === "RequestTimeout" ? error : error.reason
  switch (reason._tag) {
    case "Timeout":
      return (
        `${origin}: not connected after ${Duration.format(reason.after)} (phase: ${reason.phase}); ` +
        "check the host, the port and firewalls between, or raise --connect-timeout"
      )
    case "Unreachable":
      return `${origin}: the address cannot be reached (${reason.code}); check the host and the network`
    case "Tls":
      return untrusted.has(reason.code)
        ? `${origin}: the certificate's issuer is not trusted (${reason.code}); pass it with --ca, or --insecure to skip the check`
        : reason.code === "ERR_TLS_CERT_ALTNAME_INVALID"
          ? `${origin}: the certificate is for another name (${reason.code}); check the host, or pass --insecure to skip the check`
          : `${origin}: ${reason.message}`
    case "Other":
      return `${origin}: the connection failed (${reason.code}): ${oneLine(reason.cause)}`
    case "RequestTimeout":
      return `${origin}: ${reason.message}; check the server, or raise --timeout`
    default:
      return `${origin}: ${reason.message}`
  }
}

const oneLine = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).replaceAll(/\s+/g, " ")

const untrusted = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
])

/**
 * Puts what the command-line parser found into one line.
 *
 * @category conversions
 * @since 0.1.0
 */
export const explainUsage = (
  commandPath: ReadonlyArray<string>,
  errors: ReadonlyArray<CliError.NonShowHelpErrors>
): string => `${errors.map((error) => usageLine(error)).join("; ")} (see ${commandPath.join(" ")} --help)`

const usageLine = (error: CliError.NonShowHelpErrors): string => {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `unknown flag ${error.option}${didYouMean(error.suggestions)}`
    case "UnknownSubcommand":
      return `unknown command "${error.subcommand}"${didYouMean(error.suggestions)}`
    case "InvalidValue":
      if (/^\d+ occurrences$/.test(error.value)) return `--${error.option} was given ${error.value.split(" ")[0]} times`
      return error.value === ""
        ? `--${error.option} needs a value (${error.expected})`
        : `--${error.option} is "${error.value}" but must be ${error.expected}`
    default:
      return oneLine(error)
  }
}

const didYouMean = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : `, did you mean ${suggestions.join(" or ")}?`
