import type * as net from "node:net"

/** Where a socket leads, as its connector was asked. */
export interface Peer {
  /** `undefined` for a Unix socket. */
  readonly host: string | undefined
  /** `host:port` or the socket path. */
  readonly endpoint: string
}

const peers = new WeakMap<net.Socket, Peer>()

/** Remembers it beside the socket, so that later stages need no second copy of the options. */
export const setPeer = (socket: net.Socket, peer: Peer): void => {
  peers.set(socket, peer)
}

export const getPeer = (socket: net.Socket): Peer | undefined => peers.get(socket)

/** `host:port` with IPv6 hosts in brackets. */
export const formatEndpoint = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
