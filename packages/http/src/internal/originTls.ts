/** The TLS part of an origin: checked, copied, and taken apart for comparison. */
import type { TlsOptions } from "../SocketConnector.ts"
import { invalid, parseHost } from "./originHost.ts"

/** What can be compared with `Object.is`. */
export type Part = string | number | boolean | undefined | ((...args: Array<never>) => unknown)

/** Everything that decides whom a connection trusts and as whom it speaks. */
export type OriginTls = Omit<TlsOptions, "connectTimeout">

type Key = keyof OriginTls

const isString = (value: unknown): value is string => typeof value === "string"
const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array
const isText = (value: unknown): value is string | Uint8Array => isString(value) || isBytes(value)
const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [value])

/** Copies of bytes, so that nobody changes a key that is in use. */
const copyText = (value: string | Uint8Array): string | Buffer => (isString(value) ? value : Buffer.from(value))

/** Text and bytes with the same content are the same to OpenSSL. */
const partOf = (value: string | Uint8Array): string => Buffer.from(value as Uint8Array).toString("latin1")

interface Rule {
  /** A copy of a valid value that was given, else undefined. */
  readonly copy: (value: unknown) => unknown
  readonly expected: string
  readonly parts: (copy: never) => ReadonlyArray<Part>
}

const scalar = (expected: string, valid: (value: unknown) => boolean): Rule => ({
  expected,
  copy: (value) => (valid(value) ? value : undefined),
  parts: (value: Part) => [value]
})

/** One or more pieces of text or bytes, each possibly with a passphrase of its own under `field`. */
const material = (field?: "pem" | "buf"): Rule => {
  const copyOne = (value: unknown): unknown => {
    if (isText(value)) return copyText(value)
    if (field === undefined || typeof value !== "object" || value === null || !(field in value)) return undefined
    const { [field]: text, passphrase } = value as Record<string, unknown>
    if (!isText(text) || (passphrase !== undefined && !isString(passphrase))) return undefined
    return { [field]: copyText(text), ...(passphrase !== undefined && { passphrase }) }
  }
  const partsOfOne = (value: any): ReadonlyArray<Part> =>
    isText(value) ? [0, partOf(value)] : [1, partOf(value[field!]), value.passphrase]
  return {
    expected: "text or bytes, or an array of them",
    copy: (value) => {
      const copies = listOf(value).map(copyOne)
      if (copies.includes(undefined)) return undefined
      return Array.isArray(value) ? copies : copies[0]
    },
    parts: (value: unknown) => [listOf(value).length, ...listOf(value).flatMap(partsOfOne)]
  }
}

const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
const version = scalar(versions.join(" or "), (value) => versions.includes(value as string))
const text = scalar("a string", isString)

/** One rule for each attribute: one that has none cannot be given, and so cannot be missing from the key. */
const rules: { readonly [K in Key]-?: Rule } = {
  servername: {
    ...text,
    expected: "a host name",
    copy: (value) => (isString(value) ? parseHost("tls.servername", value) : undefined)
  },
  ca: material(),
  cert: material(),
  key: material("pem"),
  pfx: material("buf"),
  passphrase: text,
  rejectUnauthorized: scalar("true or false", (value) => typeof value === "boolean"),
  checkServerIdentity: scalar("a function", (value) => typeof value === "function"),
  alpn: {
    expected: "an array of protocol names",
    copy: (value) =>
      Array.isArray(value) && value.every((name) => isString(name) && name.length >= 1 && name.length <= 255)
        ? [...value]
        : undefined,
    parts: (value: ReadonlyArray<string>) => [value.length, ...value]
  },
  minVersion: version,
  maxVersion: version,
  ciphers: text
}

/** A checked copy. Functions stay the same functions. */
export const copyTls = (tls: OriginTls): OriginTls => {
  const copy: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(tls)) {
    const rule: Rule | undefined = Object.hasOwn(rules, name) ? rules[name as Key] : undefined
    if (rule === undefined) throw invalid(`tls.${name} is not an option; there are ${Object.keys(rules).join(", ")}`)
    if (value === undefined) continue
    copy[name] = rule.copy(value)
    if (copy[name] === undefined) throw invalid(`tls.${name} must be ${rule.expected}`)
  }
  return copy
}

/** As many parts for each attribute as it says itself, so that no two identities have the same parts. */
export const partsOfTls = (tls: OriginTls): ReadonlyArray<Part> =>
  (Object.keys(rules) as Array<Key>).flatMap((name) => {
    const value = tls[name]
    return value === undefined ? [undefined] : [true, ...rules[name].parts(value as never)]
  })
