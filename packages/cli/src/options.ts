/**
 * The arguments and flags of `poolkit run`, checked as they are parsed.
 *
 * @since 0.1.0
 */
import * as PoolOrigin from "@poolkit/http/Origin"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import { X509Certificate } from "node:crypto"

const invalid = (message: string) => new CliError.ValidationError({ message })

const parseUrl = Effect.fnUntraced(function* (text: string): Effect.fn.Return<URL, CliError.ValidationError> {
  const url = URL.parse(text)
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    return yield* invalid(`"${text}" is not a URL to send requests to; write http://host:port/path or https://…`)
  }
  if (url.username !== "" || url.password !== "") {
    // The URL is not repeated here, as the error must not show the password.
    return yield* invalid(`the URL for ${url.host} has a user name or password in it, which is not supported`)
  }
  // What only the pool refuses: port 0, empty labels.
  yield* Effect.try({
    try: () => PoolOrigin.fromUrl(url),
    catch: (error) =>
      invalid(`"${text}" is not a URL to send requests to: ${(error as Error).message.replace("Origin: ", "")}`)
  })
  return url
})

const integer = (name: string, max: number) =>
  Flag.String(name).pipe(
    Flag.mapTryCatch(
      (text) => {
        const value = /^\d+$/.test(text) ? Number(text) : 0
        if (value < 1 || value > max) throw new RangeError()
        return value
      },
      () => `a whole number from 1 to ${max.toLocaleString("en")}`
    ),
    Flag.withMetavar("N")
  )

const seconds = (name: string) =>
  Flag.String(name).pipe(
    Flag.mapTryCatch(
      (text) => {
        const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0
        if (value < 0.001 || value > 86_400) throw new RangeError()
        return Duration.millis(Math.round(value * 1000))
      },
      () => "a number of seconds from 0.001 to 86400"
    ),
    Flag.withMetavar("SECONDS")
  )

const readCertificates = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.mapError(fs.readFileString(path), (error) =>
    invalid(`--ca: ${path} cannot be read (${error.reason._tag}); it must be a file with certificates in PEM form`)
  )
  yield* Effect.try({
    // TLS ignores what is no certificate, so that a wrong file would show as an untrusted server.
    try: () => new X509Certificate(text),
    catch: () => invalid(`--ca: ${path} has no certificate in PEM form`)
  })
  return text
})

/**
 * What `poolkit run` takes.
 *
 * @category options
 * @since 0.1.0
 */
export const options = {
  urls: Argument.String("url").pipe(
    Argument.withDescription(
      "Where to send GET requests, in turn. URLs of one origin share its pool. Default: three servers in this process"
    ),
    Argument.mapEffect(parseUrl),
    Argument.variadic()
  ),
  requests: integer("requests", 1_000_000_000).pipe(
    Flag.withDescription("Requests in total. Default 20000, or as many as there is time for with --duration"),
    Flag.optional
  ),
  duration: seconds("duration").pipe(
    Flag.withDescription("Start no request after this time. Default: no bound"),
    Flag.optional
  ),
  concurrency: integer("concurrency", 100_000).pipe(
    Flag.withDescription("Requests at the same time, over all origins. Default 50"),
    Flag.withDefault(50)
  ),
  http1: Flag.Boolean("http1").pipe(Flag.withDescription("Speak HTTP/1.1 only"), Flag.withDefault(false)),
  http2: Flag.Boolean("http2").pipe(
    Flag.withDescription("Speak HTTP/2 only, to http: URLs without asking. Default: over TLS what the server prefers"),
    Flag.withDefault(false)
  ),
  maxConnections: integer("max-connections", 10_000).pipe(
    Flag.withDescription("Connections to each origin; HTTP/2 shares one until it is full. Default 10"),
    Flag.withDefault(10)
  ),
  connectTimeout: seconds("connect-timeout").pipe(
    Flag.withDescription("Time to open a connection, name lookup and TLS included. Default 10"),
    Flag.withDefault(Duration.seconds(10))
  ),
  timeout: seconds("timeout").pipe(
    Flag.withDescription(
      "Time from a request until its whole response, the wait for a connection included. Default 10"
    ),
    Flag.withDefault(Duration.seconds(10))
  ),
  ca: Flag.String("ca").pipe(
    Flag.withDescription("Trust the certificates in this PEM file instead of the usual ones"),
    Flag.mapEffect(readCertificates),
    Flag.withMetavar("FILE"),
    Flag.optional
  ),
  insecure: Flag.Boolean("insecure").pipe(Flag.withDescription("Do not verify certificates"), Flag.withDefault(false)),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON object instead of the table; times in milliseconds"),
    Flag.withDefault(false)
  )
}
