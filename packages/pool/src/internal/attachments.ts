/**
 * Guards and observers of a pool that is made of other pools: each is
 * installed in every part there is, and in those that come later.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Any } from "../ConnectionPool.ts"

/** Puts something into a part, until the scope closes; `isNew` if the part came after it. */
export type Install = (part: Any, isNew: boolean) => Effect.Effect<void, never, Scope.Scope>

export class Attachments {
  private readonly parts = new Set<Any>()
  private readonly installed = new Map<Install, Map<Any, Scope.Closeable>>()

  /** Installs in all parts for as long as the current scope is open. */
  readonly attach = (install: Install): Effect.Effect<void, never, Scope.Scope> =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.suspend(() => {
          const key: Install = (part, isNew) => install(part, isNew)
          this.installed.set(key, new Map())
          return Effect.as(
            Effect.forEach(this.parts, (part) => this.installOne(key, part, false), { discard: true }),
            key
          )
        }),
        (key) =>
          Effect.suspend(() => {
            const scopes = this.installed.get(key)!
            this.installed.delete(key)
            return Effect.forEach(scopes.values(), (scope) => Scope.close(scope, Exit.void), { discard: true })
          })
      )
    )

  add(part: Any): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.parts.add(part)
      return Effect.forEach(Array.from(this.installed.keys()), (install) => this.installOne(install, part, true), {
        discard: true
      })
    })
  }

  /** The part is closed, and what was installed in it with it. */
  remove(part: Any): void {
    this.parts.delete(part)
    for (const scopes of this.installed.values()) scopes.delete(part)
  }

  private installOne(install: Install, part: Any, isNew: boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      const scopes = this.installed.get(install)
      if (scopes === undefined || scopes.has(part) || !this.parts.has(part)) return Effect.void
      const scope = Scope.makeUnsafe()
      scopes.set(part, scope)
      return Scope.provide(install(part, isNew), scope)
    })
  }
}
