/** What HTTP/2 asks of headers, checked before a byte is written: `node:http2` checks names only. */
import * as Stream from "effect/Stream"
import type { HttpRequest, HttpResponse } from "../HttpConnection.ts"

/** A request's head, ready to be sent. */
export interface RequestHead {
  readonly fields: Record<string, string | Array<string>>
  /** What the request declares, or its body is known to have. */
  readonly contentLength: number | undefined
  /** The body, unless it is a stream. */
  readonly content: Uint8Array | undefined
}

/** Says what is wrong with a request; names are given, values may be secrets. */
export class Invalid {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// What is above one byte would be cut to one by node, and could become a line feed.
const badValue = /[^\t\x20-\x7e\x80-\xff]/
const badPath = /[^\x21-\x7e\x80-\xff]/
const badAuthority = /[^\x21-\x7e]|[/?#@\\]/

/** They are about one hop of HTTP/1.1, and a server must reject them. */
const forbidden = new Set([
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade"
])

/** Methods of which servers expect to be told that there is no body. */
const expectsBody = new Set(["PATCH", "POST", "PUT"])

/** The size that HTTP/2 gives a field: what it takes in the table of the compression. */
const fieldSize = (name: string, value: string): number => name.length + value.length + 32

/** A larger head does not fit what nghttp2 sends, which would end the connection. */
const maxSent = 65_536 - 32

/** Checks a request and translates it, or says what is wrong. `maxBytes` is what the server takes. */
export const makeHead = (
  request: HttpRequest,
  scheme: string,
  authority: string,
  maxBytes: number
): RequestHead | Invalid => {
  const { method, path } = request
  if (!token.test(method)) return new Invalid("its method is not a token")
  if (method === "CONNECT") return new Invalid("CONNECT is not supported")
  if (!path.startsWith("/") && !(path === "*" && method === "OPTIONS")) return new Invalid("its path must start with /")
  if (badPath.test(path)) return new Invalid("its path has a character that is not allowed")
  const fields = {
    __proto__: null,
    ":method": method,
    ":scheme": scheme,
    ":authority": authority,
    ":path": path
  } as unknown as RequestHead["fields"]
  if (request.headers !== undefined) {
    for (const [name, value] of Object.entries(request.headers)) {
      const invalid = addField(fields, name.toLowerCase(), value)
      if (invalid !== undefined) return invalid
    }
  }
  const length = checkLength(fields, request.body)
  if (length instanceof Invalid) return length
  let size = 0
  for (const name in fields) {
    const value = fields[name]!
    if (typeof value === "string") size += fieldSize(name, value)
    else for (const each of value) size += fieldSize(name, each)
  }
  return size <= Math.min(maxBytes, maxSent) ? { fields, ...length } : new Invalid("its headers are too large to send")
}

const addField = (
  fields: RequestHead["fields"],
  name: string,
  value: string | ReadonlyArray<string> | undefined
): Invalid | undefined => {
  if (value === undefined) return
  if (!token.test(name)) return new Invalid("the name of a header is not a token")
  if (forbidden.has(name)) return new Invalid(`the header ${name} is not allowed in HTTP/2`)
  const values: Array<string> = []
  for (const each of typeof value === "string" ? [value] : value) {
    const text = String(each)
    if (badValue.test(text)) return new Invalid(`the header ${name} has a character that is not allowed`)
    values.push(trim(text))
  }
  if (name === "te" && values.some((value) => value !== "trailers")) {
    return new Invalid("the header te can only be trailers in HTTP/2")
  }
  // It is about this hop, and what it can say of HTTP/1.1 (close, keep-alive) has no meaning here.
  if (name === "connection") return
  if (name === "host") {
    const host = values[0]
    if (host === undefined || values.length > 1) return new Invalid("the header host must have one value")
    if (host === "" || badAuthority.test(host)) return new Invalid("the header host is not host or host:port")
    fields[":authority"] = host
    return
  }
  const before = fields[name]
  const all = before === undefined ? values : [before, values].flat()
  fields[name] = all.length === 1 ? all[0]! : all
}

/** Without the white space around it, which HTTP/2 forbids. Not `trim`, which takes a byte of Latin-1 for a space. */
const trim = (value: string): string => {
  let start = 0
  let end = value.length
  while (start < end && isSpace(value.charCodeAt(start))) start++
  while (start < end && isSpace(value.charCodeAt(end - 1))) end--
  return value.slice(start, end)
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09

const checkLength = (
  fields: RequestHead["fields"],
  body: HttpRequest["body"]
): Pick<RequestHead, "content" | "contentLength"> | Invalid => {
  const field = fields["content-length"]
  if (field !== undefined && !(typeof field === "string" && /^\d+$/.test(field))) {
    return new Invalid("the header content-length is not one number")
  }
  const declared = field === undefined ? undefined : Number(field)
  if (Stream.isStream(body)) return { content: undefined, contentLength: declared }
  const content = typeof body === "string" ? Buffer.from(body) : body
  const length = content?.length ?? 0
  if (declared !== undefined && declared !== length) {
    return new Invalid("its body is not as long as content-length says")
  }
  if (length > 0 || expectsBody.has(String(fields[":method"]))) fields["content-length"] = String(length)
  return { content: length > 0 ? content : undefined, contentLength: length }
}

/** A response's head, from names and values in turn as they came. */
export const parseHead = (
  raw: ReadonlyArray<string>
): { readonly headers: HttpResponse["headers"]; readonly size: number } => {
  // A server may call a header `__proto__`.
  const headers: Record<string, string | Array<string>> = Object.create(null)
  let size = 0
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!
    const value = raw[i + 1]!
    size += fieldSize(name, value)
    if (name.startsWith(":")) continue
    const before = headers[name]
    headers[name] = before === undefined ? value : [before, value].flat()
  }
  return { headers, size }
}
