/** What a fault server and its parent say to each other. */
import type { TlsOptions } from "node:tls"

/** The part of a server's TLS options that survives JSON. */
export interface ServerTls extends Pick<
  TlsOptions,
  "maxVersion" | "rejectUnauthorized" | "requestCert" | "secureOptions"
> {
  readonly cert: string
  readonly key: string
  readonly ca?: string
  readonly ALPNProtocols?: Array<string>
}

/** From the parent. */
export type Order<Scenario> =
  | { readonly order: "listen"; readonly server: number; readonly scenario: Scenario; readonly tls?: ServerTls }
  | { readonly order: "signal"; readonly server: number; readonly name: string }
  | { readonly order: "sync"; readonly server: number }
  | { readonly order: "close"; readonly server: number }

/**
 * What a server saw on one connection. A request has a number that is unique
 * on its connection: the stream's id on HTTP/2. It is `done` when its script is, `at` so many
 * milliseconds of the system's clock.
 */
export type Fact =
  | { readonly what: "open" }
  | { readonly what: "close" }
  | { readonly what: "preface" }
  | { readonly what: "settings" }
  | { readonly what: "ack" }
  | {
      readonly what: "request"
      readonly id: number
      readonly method: string
      readonly path: string
      readonly head?: string
    }
  | { readonly what: "end"; readonly id: number; readonly bytes: number; readonly body?: string }
  | { readonly what: "done"; readonly id: number; readonly at: number }
  | { readonly what: "ignored"; readonly id: number }
  | { readonly what: "reset"; readonly id: number; readonly code: number }
  | { readonly what: "goaway"; readonly code: number }
  | { readonly what: "ping" }
  | { readonly what: "pong" }
  | { readonly what: "renegotiated"; readonly error: string | undefined }
  | { readonly what: "invalid"; readonly detail: string }

export interface Seen {
  readonly connection: number
  readonly fact: Fact
}

/** From the child. */
export type Report =
  | { readonly report: "listening"; readonly server: number; readonly port: number }
  | ({ readonly report: "fact"; readonly server: number } & Seen)
  | { readonly report: "synced"; readonly server: number }
  | { readonly report: "closed"; readonly server: number; readonly open: number }
