import * as Origin from "../Origin.ts"
import type { Target } from "../PooledHttpClient.ts"

export const noTarget: Target = {}

/** The origin of a request. Throws if there is none. */
export const originOf = (url: URL, target: Target): Origin.Origin => {
  // Credentials are nothing that a connection depends on, and origins refuse them.
  if (target === noTarget) return Origin.fromUrl(url.username === "" && url.password === "" ? url : url.origin)
  let known = origins.get(target)
  if (known === undefined) origins.set(target, (known = new Map()))
  let origin = known.get(url.origin)
  if (origin === undefined) {
    origin = Origin.make({ ...target, url: url.origin })
    if (known.size === maxRemembered) known.delete(known.keys().next().value!)
    known.set(url.origin, origin)
  }
  return origin
}

/** To compare certificates once per target and server rather than for each request. */
const origins = new WeakMap<Target, Map<string, Origin.Origin>>()
const maxRemembered = 1000
