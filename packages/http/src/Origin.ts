/**
 * Where a request goes and as whom: the key of a pool of HTTP connections.
 *
 * @since 0.1.0
 */
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as Inspectable from "effect/Inspectable"
import {
  canonicalAddress,
  canonicalHost,
  type Endpoint,
  formatHost,
  invalid,
  parseEndpoint,
  portOf
} from "./internal/originHost.ts"
import { copyTls, type OriginTls, type Part, partsOfTls } from "./internal/originTls.ts"

/**
 * A server, the way to it, and the identity under which it is used. Two
 * requests may share a connection exactly if their origins are equal.
 *
 * **Details**
 *
 * Compared by content with Effect's `Equal`; certificates and keys too, while
 * `checkServerIdentity` is the same only if it is the same function. An origin
 * prints as its URL and the address it goes to; whatever may be a secret (TLS
 * options, tenant) is not part of any output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin extends Equal.Equal, Inspectable.Inspectable {
  readonly scheme: "http" | "https"
  /** Lower case, IDNA, no trailing dot; IPv6 without brackets. */
  readonly host: string
  readonly port: number
  /** `host` or `host:port` as in a `Host` header. */
  readonly authority: string
}

/**
 * Options of {@link make}. All are part of the key.
 *
 * @category options
 * @since 0.1.0
 */
export interface OriginOptions {
  /** `http:` or `https:`, without path, query, fragment and credentials. */
  readonly url: string | URL
  /**
   * `host`, `host:port` or an IP address to connect to instead of the URL's.
   * What the server is told and has to prove stays the URL's. Default port: the
   * URL's.
   */
  readonly address?: string | undefined
  /** A Unix socket to connect to instead. */
  readonly socketPath?: string | undefined
  /** The local IP address to connect from. Default: the system's choice. */
  readonly localAddress?: string | undefined
  /** For `https:`; otherwise ignored. `servername` defaults to the URL's host, `alpn` to what the pool speaks. */
  readonly tls?: OriginTls | undefined
  /** Keeps the connections of one user, account or purpose apart from others'. Treated as a secret. */
  readonly tenant?: string | undefined
}

export type {
  /**
   * The TLS identity of an origin.
   *
   * @category options
   * @since 0.1.0
   */
  OriginTls
}

/**
 * Makes an origin from its URL alone or from options.
 *
 * **Details**
 *
 * Spellings of a URL that mean the same give equal origins: case, default
 * ports, punycode, a trailing dot, odd forms of IPv4 addresses. Bytes are
 * copied. Bad input throws a `RangeError` that says what is wrong and quotes
 * nothing. An option that is not listed is refused rather than left out of the
 * key. Proxies are not supported.
 *
 * **Gotchas**
 *
 * Comparing certificates costs time in proportion to their size, once per
 * origin: make an origin once and keep it, rather than one per request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: string | URL | OriginOptions): Origin => {
  if (typeof options === "string" || options instanceof URL) return fromParsed(parse(options, true))
  if (typeof options !== "object" || options === null) throw invalid("pass a URL or an object of options")
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) throw invalid(`${name} is not an option; there are ${[...optionNames].join(", ")}`)
  }
  return new Keyed(parse(options.url, true), options)
}

/**
 * Gives the origin of a request's URL, which may have a path, a query and a
 * fragment.
 *
 * **Details**
 *
 * The origins of the last 1,000 servers are remembered, so that a request costs
 * little more than parsing its URL. Credentials in the URL are refused.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromUrl = (url: string | URL): Origin => fromParsed(parse(url, false))

/**
 * Gives back all that an origin was made of, secrets included, for connectors.
 * The host and the addresses are in their canonical form.
 *
 * @category getters
 * @since 0.1.0
 */
export const reveal = (origin: Origin): OriginOptions => Keyed.reveal(origin)

/**
 * Whether a value is an origin.
 *
 * @category guards
 * @since 0.1.0
 */
export const isOrigin = (value: unknown): value is Origin => value instanceof Keyed

const defaultPorts = { http: 80, https: 443 }

const optionNames: ReadonlySet<string> = new Set<keyof OriginOptions>([
  "url",
  "address",
  "socketPath",
  "localAddress",
  "tls",
  "tenant"
])

const parse = (input: string | URL, bare: boolean): URL => {
  const url = input instanceof URL ? input : typeof input === "string" ? URL.parse(input) : null
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw invalid("the URL must be an absolute http: or https: URL")
  }
  if (url.username !== "" || url.password !== "") throw invalid("the URL must have no credentials")
  if (bare && (url.pathname !== "/" || url.search !== "" || url.hash !== "")) {
    throw invalid("the URL must have no path, query or fragment; use fromUrl for the URL of a request")
  }
  return url
}

/** Origins that are nothing but a URL, by the URL's own serialisation of it. */
const remembered = new Map<string, Origin>()
const maxRemembered = 1000

const fromParsed = (url: URL): Origin => {
  const text = url.origin
  const known = remembered.get(text)
  if (known !== undefined) return known
  const origin = new Keyed(url, { url })
  if (remembered.size === maxRemembered) remembered.delete(remembered.keys().next().value!)
  remembered.set(text, origin)
  return origin
}

/** Private fields, because a debugger or a logger that goes past `toJSON` and `inspect` sees the others. */
class Keyed implements Origin {
  readonly scheme: "http" | "https"
  readonly host: string
  readonly port: number
  readonly authority: string
  readonly #address: Endpoint | undefined
  readonly #options: OriginOptions
  readonly #parts: ReadonlyArray<Part>
  readonly #hash: number

  constructor(url: URL, options: OriginOptions) {
    const { address, localAddress, socketPath, tenant, tls } = options
    this.scheme = url.protocol === "https:" ? "https" : "http"
    const defaultPort = defaultPorts[this.scheme]
    this.host = canonicalHost(url.hostname)
    this.port = url.port === "" ? defaultPort : portOf("the URL", Number(url.port))
    this.authority = formatHost(this, defaultPort)
    this.#address = address === undefined ? undefined : parseEndpoint("address", string("address", address), this.port)
    this.#options = {
      url: `${this.scheme}://${this.authority}`,
      ...(this.#address !== undefined && { address: formatHost(this.#address) }),
      ...(socketPath !== undefined && { socketPath: string("socketPath", socketPath) }),
      ...(localAddress !== undefined && { localAddress: canonicalAddress("localAddress", localAddress) }),
      ...(tls !== undefined && this.scheme === "https" && { tls: copyTls(tls) }),
      ...(tenant !== undefined && { tenant: string("tenant", tenant) })
    }
    if (socketPath !== undefined && (address ?? localAddress) !== undefined) {
      throw invalid("socketPath excludes address and localAddress")
    }
    this.#parts = partsOf(this, this.#address, this.#options)
    this.#hash = hashOf(this.#parts)
    Object.freeze(this)
  }

  static reveal(origin: Origin): OriginOptions {
    if (origin instanceof Keyed) return origin.#options
    throw invalid("not an origin; make it with Origin.make")
  }

  [Hash.symbol](): number {
    return this.#hash
  }

  [Equal.symbol](that: Equal.Equal): boolean {
    if (this === that) return true
    if (!(that instanceof Keyed) || this.#hash !== that.#hash || this.#parts.length !== that.#parts.length) return false
    return this.#parts.every((part, i) => part === that.#parts[i])
  }

  toString(): string {
    const { address, socketPath, url } = this.#options
    const via = address ?? socketPath
    return via === undefined ? String(url) : `${url} via ${via}`
  }

  toJSON(): unknown {
    return this.toString()
  }

  [Inspectable.NodeInspectSymbol](): unknown {
    return `Origin(${this})`
  }
}

const string = (name: string, value: unknown): string => {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value
  throw invalid(`${name} must be a string that is not empty`)
}

/** In a fixed order and number, up to the TLS identity at the end. */
const partsOf = (
  origin: Endpoint & { readonly scheme: string },
  address: Endpoint | undefined,
  options: OriginOptions
) => [
  origin.scheme,
  origin.host,
  origin.port,
  address?.host,
  address?.port,
  options.socketPath,
  options.localAddress,
  options.tenant,
  ...partsOfTls(options.tls ?? {})
]

const hashOf = (parts: ReadonlyArray<Part>): number =>
  Hash.optimize(parts.reduce<number>((hash, part) => Hash.combine(hash, Hash.hash(part)), 0))
