/** Host names and ports in one form, for lookup, SNI, verification, header and key alike. */
import * as Net from "node:net"

export interface Endpoint {
  /** Lower case, IDNA, no trailing dot; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** What of the module's input is wrong. Never quotes it, because a URL may hold a password. */
export const invalid = (detail: string): RangeError => new RangeError(`Origin: ${detail}`)

/**
 * The canonical form of a host that the URL parser has accepted: it did case,
 * IDNA, full-width dots and the odd spellings of IPv4 addresses, and refused
 * control characters.
 */
export const canonicalHost = (hostname: string): string => {
  if (hostname.startsWith("[")) return hostname.slice(1, -1)
  // `a.test.` names the same host as `a.test`, and neither SNI nor certificates have the dot.
  const name = hostname.endsWith(".") ? hostname.slice(0, -1) : hostname
  if (name === "" || name.startsWith(".") || name.endsWith(".") || name.includes("..")) {
    throw invalid("the host must be an address or a name without empty labels")
  }
  return name
}

/** `host`, `host:port`, an IPv6 address with or, where no port follows, without brackets. */
export const parseEndpoint = (name: string, text: string, defaultPort: number): Endpoint => {
  const [, host = "", port] = (Net.isIPv6(text) ? undefined : /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(text)) ?? [
    text,
    text
  ]
  return { host: parseHost(name, host), port: port === undefined ? defaultPort : portOf(name, Number(port)) }
}

/** A name or an address, IPv6 with or without brackets. */
export const parseHost = (name: string, text: string): string => {
  const host = Net.isIPv6(text) ? `[${text}]` : text
  // What ends the host in a URL would let something else in.
  const url = /^(?:\[[^\]]*\]|[^/\\?#@:[\]]+)$/.test(host) ? URL.parse(`http://${host}/`) : null
  if (url === null) throw invalid(`${name} is not a host name or an address`)
  return canonicalHost(url.hostname)
}

export const portOf = (name: string, port: number): number => {
  if (port >= 1 && port <= 65_535) return port
  throw invalid(`the port of ${name} must be from 1 to 65535`)
}

/** An IP address in the form that the URL parser gives it. */
export const canonicalAddress = (name: string, address: string): string => {
  if (Net.isIPv4(address) || Net.isIPv6(address)) return parseHost(name, address)
  throw invalid(`${name} must be an IP address`)
}

/** `host:port` as it stands in a URL or a `Host` header, without `defaultPort`. */
export const formatHost = ({ host, port }: Endpoint, defaultPort?: number): string => {
  const name = host.includes(":") ? `[${host}]` : host
  return port === defaultPort ? name : `${name}:${port}`
}
