/** A program with connections of its own. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { HttpConnection } from "../src/HttpConnection.ts"

export declare class QuicError {
  readonly _tag: "QuicError"
}
export class Quic extends Context.Service<Quic, { readonly port: number }>()("typetest/Quic") {}

export declare const openQuic: Effect.Effect<HttpConnection, QuicError, Scope.Scope | Quic>
