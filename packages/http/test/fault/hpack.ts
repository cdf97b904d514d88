/**
 * As much of HPACK (RFC 7541) as a server needs that reads any client's
 * requests and writes plain literals.
 */

export type Field = readonly [name: string, value: string]

/** The static table (appendix A): names and values of 1 to 61. */
const fixed: ReadonlyArray<Field> = (
  ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|" +
  ":status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|" +
  "accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|" +
  "content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|" +
  "cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|" +
  "last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|" +
  "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
  .split("|")
  .map((entry) => {
    const space = entry.indexOf(" ")
    return space < 0 ? [entry, ""] : [entry.slice(0, space), entry.slice(space + 1)]
  })

// -----------------------------------------------------------------------------
// Huffman code (appendix B)
// -----------------------------------------------------------------------------

/**
 * Lengths of the codes of the characters 32 to 126, in base 36. The code is
 * canonical: codes of one length are consecutive, in the order of the
 * characters. NUL is the only other character whose code is as short.
 */
const lengths = "6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f56565666577666567655677777fbed"

const codes: ReadonlyMap<string, string> = (() => {
  const byLength = [...lengths]
    .map((length, i) => [Number.parseInt(length, 36), i + 32] as const)
    .concat([[13, 0]])
    .toSorted(([a, x], [b, y]) => a - b || x - y)
  const found = new Map<string, string>()
  let code = 0
  let last = 5
  for (const [length, character] of byLength) {
    code <<= length - last
    last = length
    found.set(code.toString(2).padStart(length, "0"), String.fromCharCode(character))
    code++
  }
  return found
})()

const unhuffman = (bytes: Uint8Array): string => {
  let text = ""
  let code = ""
  for (const byte of bytes) {
    for (const bit of byte.toString(2).padStart(8, "0")) {
      const character = codes.get((code += bit))
      if (character === undefined) continue
      text += character
      code = ""
    }
  }
  // Padding is at most seven ones. More is a character that nobody here sends.
  return code.length < 8 ? text : `${text}\ufffd`
}

// -----------------------------------------------------------------------------
// Decoder
// -----------------------------------------------------------------------------

const maxTableSize = 4_096

/** Decodes the header blocks of one connection, in order. */
export class Decoder {
  private readonly table: Array<Field> = []
  private bytes: Uint8Array = new Uint8Array()
  private at = 0

  decode(block: Uint8Array): ReadonlyArray<Field> {
    this.bytes = block
    this.at = 0
    const fields: Array<Field> = []
    while (this.at < block.length) {
      const byte = block[this.at]!
      if (byte & 0x80) fields.push(this.entry(this.integer(7)))
      else if (byte & 0x40) fields.push(this.remember(this.literal(6)))
      else if (byte & 0x20) this.evict(this.integer(5))
      else fields.push(this.literal(4))
    }
    return fields
  }

  private entry(index: number): Field {
    const field = fixed[index - 1] ?? this.table[index - 1 - fixed.length]
    if (field === undefined) throw new Error(`no header field ${index}`)
    return field
  }

  private literal(prefix: number): Field {
    const index = this.integer(prefix)
    const name = index === 0 ? this.string() : this.entry(index)[0]
    return [name, this.string()]
  }

  private remember(field: Field): Field {
    this.table.unshift(field)
    this.evict(maxTableSize)
    return field
  }

  private evict(max: number): void {
    const size = () => this.table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0)
    while (size() > max) this.table.pop()
  }

  private integer(prefix: number): number {
    const full = 2 ** prefix - 1
    let value = this.bytes[this.at++]! & full
    if (value < full) return value
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++]!
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }

  private string(): string {
    const coded = (this.bytes[this.at]! & 0x80) !== 0
    const length = this.integer(7)
    const bytes = this.bytes.subarray(this.at, (this.at += length))
    return coded ? unhuffman(bytes) : Buffer.from(bytes).toString("latin1")
  }
}

// -----------------------------------------------------------------------------
// Encoder
// -----------------------------------------------------------------------------

const encodeString = (text: string): Buffer => {
  const bytes = Buffer.from(text, "latin1")
  const head = [Math.min(bytes.length, 127)]
  if (bytes.length >= 127) {
    let rest = bytes.length - 127
    for (; rest >= 128; rest = Math.floor(rest / 128)) head.push((rest % 128) + 128)
    head.push(rest)
  }
  return Buffer.concat([Buffer.from(head), bytes])
}

/** A header block of literals that no table remembers. */
export const encode = (fields: ReadonlyArray<Field>): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), encodeString(name), encodeString(value)]))
