/** A program that uses pools: a database, its errors, what its connector needs. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface UserDb {
  readonly query: (sql: string) => Effect.Effect<ReadonlyArray<string>>
}
export interface UserDbPlus extends UserDb {
  readonly extra: number
}
export declare class ConnectError {
  readonly _tag: "ConnectError"
}
export declare class OtherError {
  readonly _tag: "OtherError"
}
export class Config extends Context.Service<Config, { readonly url: string }>()("typetest/Config") {}

export declare const openUserDb: Effect.Effect<UserDb, ConnectError, Scope.Scope>
export declare const openUserDbWithConfig: Effect.Effect<UserDb, ConnectError, Scope.Scope | Config>
export declare const openUserDbPlus: Effect.Effect<UserDbPlus, ConnectError, Scope.Scope>
export declare const openUserDbNever: Effect.Effect<UserDb, never, Scope.Scope>
export declare const openUserDbOther: Effect.Effect<UserDb, OtherError, Scope.Scope>
