import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as AddressResolver from "effect/net/AddressResolver"
import * as Dns from "effect/net/Dns"
import * as NetAddress from "effect/net/NetAddress"
import * as NodeDns from "node:dns"

/** As `node:net` wants the result of a lookup. */
export type Address = NodeDns.LookupAddress

/**
 * Finds the addresses of a host name, best first and at least one. The
 * services are optional, so that the common case needs no layer.
 */
export const resolve = (host: string): Effect.Effect<ReadonlyArray<Address>, unknown> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const resolver = Context.getOrUndefined(context, AddressResolver.AddressResolver)
    const dns = Context.getOrUndefined(context, Dns.Dns)
    const addresses =
      resolver !== undefined
        ? fromResolver(resolver, host)
        : dns !== undefined
          ? fromResolver(AddressResolver.make(dns), host)
          : fromSystem(host)
    return Effect.filterOrFail(
      addresses,
      (found) => found.length > 0,
      () => Object.assign(new Error("no address"), { code: "ENODATA" })
    )
  })

// The port is `node:net`'s business, but an endpoint needs one.
const anyPort = 1

const fromResolver = (resolver: AddressResolver.AddressResolver["Service"], host: string) =>
  Effect.map(resolver.resolve({ host, port: anyPort }), (found) =>
    found.map((address): Address => ({
      address: NetAddress.formatHost(address),
      family: NetAddress.isInetAddressV6(address) ? 6 : 4
    }))
  )

/** Interruption does not wait for the operating system, which cannot be told to stop. */
const fromSystem = (host: string): Effect.Effect<ReadonlyArray<Address>, unknown> =>
  Effect.callback((resume) => {
    NodeDns.lookup(host, { all: true, order: "verbatim" }, (error, found) =>
      resume(error === null ? Effect.succeed(found) : Effect.fail(error))
    )
  })
