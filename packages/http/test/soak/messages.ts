/** What the program of the soak and its server process say to each other. */

/** `lines`: see `lines.ts`. */
export type Protocol = "http/1.1" | "h2" | "lines"

/** What befalls an address. Times are milliseconds. */
export type Fault =
  | { readonly fault: "latency"; readonly millis: number; readonly lasts: number }
  /** A blackhole: takes everything in, and goes on with it later. */
  | { readonly fault: "silence"; readonly lasts: number }
  /** The connections of now never hear of it again. */
  | { readonly fault: "half-open" }
  | { readonly fault: "reset" }
  | { readonly fault: "close" }
  /** GOAWAY without an error, `connection: close`, or `bye`: does no harm. */
  | { readonly fault: "leave" }
  /** GOAWAY with an error, or bytes that are not the protocol. */
  | { readonly fault: "break" }
  /** The next answers end in the middle of their body. */
  | { readonly fault: "truncate"; readonly times: number }
  /** The next answers announce the end of their connection, which comes late. */
  | { readonly fault: "slow close"; readonly times: number }
  /** Refuses requests; over HTTP/1.1 hangs up without an answer. */
  | { readonly fault: "refuse"; readonly times: number }
  /** Nobody listens. */
  | { readonly fault: "down"; readonly lasts: number }

export interface ServerTls {
  readonly key: string
  readonly cert: string
}

export type Order =
  | { readonly order: "listen"; readonly address: number; readonly protocol: Protocol; readonly tls?: ServerTls }
  | { readonly order: "fault"; readonly address: number; readonly fault: Fault }
  | { readonly order: "audit" }

export type Report =
  | { readonly report: "listening"; readonly address: number; readonly port: number }
  | { readonly report: "audit"; readonly audit: Audit }

/** What the server counted. */
export interface Audit {
  readonly accepted: ReadonlyArray<number>
  readonly open: number
  readonly requests: number
  /** What was done more often than it may be: POSTs and lines more than once, other requests more than twice. */
  readonly repeated: ReadonlyArray<string>
  /** Requests that make no sense. */
  readonly invalid: ReadonlyArray<string>
}
