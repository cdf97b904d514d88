/**
 * Connectors for TCP, Unix and TLS sockets. Each is a connector over the
 * previous one, and one deadline covers them all.
 *
 * @since 0.1.0
 */
import type { Connector } from "@poolkit/pool/Connector"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as NodeTls from "node:tls"
import { millis } from "./internal/options.ts"
import { formatEndpoint, getPeer, setPeer } from "./internal/peer.ts"
import { type Address, resolve } from "./internal/resolve.ts"
import { untilScopeCloses } from "./internal/untilScopeCloses.ts"
import { type Phase, reasonOf, SocketError, Timeout, Tls } from "./SocketError.ts"

/**
 * Options of every connector in this module.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions {
  /**
   * The time from the start of the name lookup until the socket is ready.
   *
   * **Details**
   *
   * The outermost stage's deadline covers the stages underneath, so
   * `tls(tcp({ … }))` has 10 seconds for DNS, TCP and TLS together. A stage
   * underneath that is given its own is bound by both. Default 10 seconds,
   * `Infinity` turns it off.
   */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Where {@link tcp} connects to.
 *
 * @category options
 * @since 0.1.0
 */
export type TcpOptions = ConnectOptions &
  (
    | {
        /** A name or an address; IPv6 without brackets. */
        readonly host: string
        readonly port: number
        /** The local address to connect from. Default: the system's choice. */
        readonly localAddress?: string | undefined
      }
    | {
        /** A Unix socket, or a named pipe on Windows. */
        readonly path: string
      }
  )

/**
 * Options of {@link tls}. Those of `node:tls` keep their meaning.
 * Certificates and keys are read when the first connection is opened.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions
  extends
    ConnectOptions,
    Pick<
      NodeTls.ConnectionOptions,
      | "ca"
      | "cert"
      | "checkServerIdentity"
      | "ciphers"
      | "key"
      | "maxVersion"
      | "minVersion"
      | "passphrase"
      | "pfx"
      | "rejectUnauthorized"
    > {
  /** The name to ask for and to verify. Default: the host that the socket connected to. */
  readonly servername?: string | undefined
  /** Protocols to offer, best first. Default: none, no ALPN. */
  readonly alpn?: ReadonlyArray<string> | undefined
}

/**
 * Opens a TCP connection, or one to a Unix socket.
 *
 * **Details**
 *
 * Names are resolved by the `AddressResolver` or the `Dns` service of
 * `effect/net` where one is in the context, else by the operating system.
 * Several addresses are tried in turn, 500 ms apart, until one answers (happy
 * eyeballs). Nagle's algorithm is off; TCP keep-alive probes start after 60
 * idle seconds. An `error` listener stays on the socket for life. Interruption
 * destroys the socket and returns at once, whatever the network does.
 *
 * @category connectors
 * @since 0.1.0
 */
export const tcp = (options: TcpOptions): Connector<void, Net.Socket, SocketError, Scope.Scope> => {
  const timeout = checkTimeout(options)
  const endpoint = "path" in options ? options.path : formatEndpoint(options.host, options.port)
  return () =>
    withDeadline(timeout, (attempt) =>
      Effect.gen(function* () {
        attempt.endpoint = endpoint
        attempt.phase = "dns"
        const addresses = "path" in options ? undefined : yield* lookup(attempt, options.host)
        attempt.phase = "connect"
        const socket = yield* own(
          attempt,
          () => new Net.Socket({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 })
        )
        setPeer(socket, { host: "path" in options ? undefined : options.host, endpoint })
        yield* ready(attempt, socket, "connect", () => {
          socket.connect(connectOptions(options, addresses))
        })
        return socket
      })
    )
}

const connectOptions = (options: TcpOptions, addresses: ReadonlyArray<Address> | undefined): Net.NetConnectOpts => {
  if ("path" in options) return { path: options.path }
  const base = {
    host: options.host,
    port: options.port,
    ...(options.localAddress !== undefined && { localAddress: options.localAddress })
  }
  return addresses === undefined
    ? base
    : { ...base, autoSelectFamily: true, lookup: (_host, _options, done) => done(null, [...addresses]) }
}

/** `undefined` for an address, which needs no lookup. */
const lookup = (attempt: Attempt, host: string): Effect.Effect<ReadonlyArray<Address> | undefined, SocketError> =>
  Net.isIP(host) !== 0
    ? Effect.undefined
    : Effect.mapError(
        resolve(host),
        (cause) => new SocketError({ endpoint: attempt.endpoint, reason: reasonOf("dns", cause) })
      )

/**
 * Speaks TLS over the socket that `connect` opens, and tells the protocol that
 * was agreed as `alpnProtocol`.
 *
 * **Details**
 *
 * The certificate must be valid for `servername` unless `rejectUnauthorized`
 * is `false`. `connectTimeout` covers `connect` too.
 *
 * Sessions are not resumed: node then checks neither the certificate nor
 * `checkServerIdentity` again, so a server that is no longer trusted would still
 * be believed, and connections that are pooled make few handshakes. (Measured on
 * one machine: 0.3 of 1.1 ms saved for each.) No socket holds a key, a
 * certificate or a passphrase in a form that could be printed.
 *
 * Interruption behaves as for {@link tcp}.
 *
 * **Gotchas**
 *
 * A socket that did not come from {@link tcp} needs `servername`; without one
 * there is no name to verify, and connecting fails with `NO_SERVERNAME`.
 *
 * @category connectors
 * @since 0.1.0
 */
export const tls: {
  (
    options?: TlsOptions
  ): <Target, E, R>(
    connect: Connector<Target, Net.Socket, E, R>
  ) => Connector<Target, NodeTls.TLSSocket, E | SocketError, R | Scope.Scope>
  <Target, E, R>(
    connect: Connector<Target, Net.Socket, E, R>,
    options?: TlsOptions
  ): Connector<Target, NodeTls.TLSSocket, E | SocketError, R | Scope.Scope>
} = dual(
  (args) => typeof args[0] === "function",
  <Target, E, R>(
    connect: Connector<Target, Net.Socket, E, R>,
    options: TlsOptions = {}
  ): Connector<Target, NodeTls.TLSSocket, E | SocketError, R | Scope.Scope> => {
    const timeout = checkTimeout(options)
    const context = makeContext(options)
    return (target) =>
      withDeadline(timeout, (attempt) =>
        Effect.flatMap(connect(target), (socket) => secure(attempt, socket, options, context))
      )
  }
)

/**
 * What is to be proved and to be trusted, in a form that holds no text: a
 * socket keeps its options where whoever prints the socket sees them. Made once,
 * since reading certificates takes longer than the rest of a handshake.
 */
const makeContext = ({ ca, cert, ciphers, key, maxVersion, minVersion, passphrase, pfx }: TlsOptions) => {
  let context: NodeTls.SecureContext | undefined
  return () =>
    (context ??= NodeTls.createSecureContext({ ca, cert, ciphers, key, maxVersion, minVersion, passphrase, pfx }))
}

const secure = Effect.fnUntraced(function* (
  attempt: Attempt,
  socket: Net.Socket,
  options: TlsOptions,
  context: () => NodeTls.SecureContext
) {
  const { alpn, checkServerIdentity, rejectUnauthorized, servername } = options
  const peer = getPeer(socket)
  const name = servername ?? peer?.host
  attempt.phase = "tls"
  attempt.endpoint = peer?.endpoint ?? name ?? "socket"
  if (name === undefined) {
    return yield* new SocketError({ endpoint: attempt.endpoint, reason: new Tls({ code: "NO_SERVERNAME" }) })
  }
  const connection = yield* own(attempt, () =>
    NodeTls.connect({
      socket,
      secureContext: context(),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
      ...(checkServerIdentity !== undefined && { checkServerIdentity }),
      // The name to verify. The server is told it too, except an address, which SNI does not allow.
      host: name,
      ...(Net.isIP(name) === 0 && { servername: name }),
      ...(alpn !== undefined && { ALPNProtocols: [...alpn] })
    })
  )
  if (peer !== undefined) setPeer(connection, peer)
  yield* ready(attempt, connection, "secureConnect")
  return connection
})

// -----------------------------------------------------------------------------
// Sockets and events
// -----------------------------------------------------------------------------

/** What the running attempt does, for the error of the deadline that may end it. */
interface Attempt {
  phase: Phase
  endpoint: string
}

const ignore = () => {}

/**
 * Creates a socket and installs its destruction in one uninterruptible step,
 * so that no interrupt can come between. The error listener stays for life: a
 * socket without one ends the process when its peer resets it.
 */
const own = <S extends Net.Socket>(attempt: Attempt, create: () => S): Effect.Effect<S, SocketError, Scope.Scope> =>
  untilScopeCloses(
    Effect.try({
      try: () => create().on("error", ignore),
      catch: (cause) => new SocketError({ endpoint: attempt.endpoint, reason: reasonOf(attempt.phase, cause) })
    }),
    destroy
  )

const destroy = (socket: Net.Socket): void => {
  socket.destroy()
}

/** Waits for `event`. On failure and interruption the stage's scope destroys the socket. */
const ready = (
  attempt: Attempt,
  socket: Net.Socket,
  event: "connect" | "secureConnect",
  start: () => void = ignore
): Effect.Effect<void, SocketError> =>
  Effect.callback((resume) => {
    const settle = (exit: Exit.Exit<void, SocketError>) => {
      socket.off(event, onReady).off("error", onError).off("close", onClose)
      resume(exit)
    }
    const onReady = () => settle(Exit.void)
    const onError = (cause: unknown) =>
      settle(Exit.fail(new SocketError({ endpoint: attempt.endpoint, reason: reasonOf(attempt.phase, cause) })))
    // A socket that is destroyed from this side leaves nothing but a close.
    const onClose = () => onError(Object.assign(new Error("closed before it was ready"), { code: "CLOSED" }))
    socket.on(event, onReady).on("error", onError).on("close", onClose)
    try {
      start()
    } catch (cause) {
      onError(cause)
    }
  })

// -----------------------------------------------------------------------------
// Deadline
// -----------------------------------------------------------------------------

const CurrentAttempt = Context.Reference<Attempt | undefined>("@poolkit/http/SocketConnector/CurrentAttempt", {
  defaultValue: () => undefined
})

const defaultTimeout = Duration.seconds(10)

const checkTimeout = (options: ConnectOptions): Duration.Duration | undefined =>
  options.connectTimeout === undefined
    ? undefined
    : Duration.millis(millis("SocketConnector", "connectTimeout", options.connectTimeout, Infinity, "positive"))

/**
 * Runs a stage under its deadline, in a scope of its own that closes at once
 * when the stage fails. A stage underneath another one has only the outer
 * deadline, unless it was given its own.
 */
const withDeadline = <A, E, R>(
  timeout: Duration.Duration | undefined,
  stage: (attempt: Attempt) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | SocketError, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const outer = yield* CurrentAttempt
      const attempt = outer ?? { phase: "connect", endpoint: "socket" }
      const scope = Scope.forkUnsafe(yield* Effect.scope)
      const run = stage(attempt).pipe(Effect.provideService(CurrentAttempt, attempt), Scope.provide(scope))
      const duration = timeout ?? defaultTimeout
      const timed =
        outer !== undefined && timeout === undefined
          ? run
          : Effect.timeoutOrElse(run, {
              duration,
              orElse: () =>
                Effect.fail(
                  new SocketError({
                    endpoint: attempt.endpoint,
                    reason: new Timeout({ phase: attempt.phase, after: duration })
                  })
                )
            })
      return yield* Effect.onExit(restore(timed), (exit) =>
        Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)
      )
    })
  )
