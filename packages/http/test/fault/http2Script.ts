/** What the HTTP/2 fault server is told to do: scripts as data. */

export interface Headers {
  readonly [name: string]: string | ReadonlyArray<string>
}

/**
 * Which stream a GOAWAY names as the last one: that of the script; the latest
 * but, if that is the script's own, the one before it; the latest; any that may
 * come; none.
 */
export type Last = "this" | "others" | "latest" | "max" | "none"

/** What a script waits for. All that is given must be so. */
export interface Barrier {
  /** The whole request of this stream is in. */
  readonly ended?: boolean
  /** The client has reset this stream. */
  readonly reset?: boolean
  /** So many streams have been opened on this connection. */
  readonly streams?: number
  /** The client has reset so many streams of this connection. */
  readonly resets?: number
  /** The client has acknowledged so many SETTINGS, or PINGs. */
  readonly acks?: number
  readonly pongs?: number
  /** So many bytes of this request's body have come. */
  readonly received?: number
  /** The test has said so. */
  readonly signal?: string
}

export type Step =
  | {
      readonly step: "headers"
      /** `null` leaves it out. */
      readonly status: number | null
      readonly fields: Headers
      readonly end: boolean
      /** Cuts the block into a HEADERS and CONTINUATION frames. */
      readonly fragments: number
      readonly stream: number | undefined
    }
  | { readonly step: "data"; readonly text: string; readonly end: boolean }
  | { readonly step: "body"; readonly size: number; readonly end: boolean }
  | { readonly step: "rst"; readonly code: number }
  | { readonly step: "goaway"; readonly last: Last; readonly code: number }
  | { readonly step: "settings"; readonly settings: ReadonlyArray<readonly [id: number, value: number]> }
  | { readonly step: "ping" }
  | { readonly step: "credit"; readonly bytes: number }
  | { readonly step: "frame"; readonly type: number; readonly flags: number; readonly hex: string }
  | { readonly step: "until"; readonly barrier: Barrier }
  | { readonly step: "delay"; readonly millis: number }
  | { readonly step: "fin" }
  | { readonly step: "cut" }
  | { readonly step: "deaf" }

/**
 * Steps between two waits go out in one write. `{path}` in a text or header is
 * the path of the request, `{length}` its length in bytes.
 */
export type Script = ReadonlyArray<Step>

export interface Http2Connection {
  /** The server's first SETTINGS. `"none"` leaves them to `start`. */
  readonly settings?: ReadonlyArray<readonly [id: number, value: number]> | "none"
  /** Runs once the client's preface has come. */
  readonly start?: Script
  /** Whether PINGs are answered. Default true. */
  readonly pong?: boolean
  /** Whether the client may go on sending what was read. Default true. */
  readonly credit?: boolean
  /** Replaces those of the scenario. */
  readonly requests?: Readonly<Record<string, Script>>
}

/**
 * A request is answered with its path, unless there is a script for it: by the
 * first segment of its path, without the slash, or `*` for any. A script of
 * `once` is for the first request with exactly this path.
 */
export interface Http2Scenario {
  /** In order of arrival; the last one is for all others. Default: one without peculiarities. */
  readonly connections?: ReadonlyArray<Http2Connection>
  readonly once?: Readonly<Record<string, Script>>
  readonly requests?: Readonly<Record<string, Script>>
}

// -----------------------------------------------------------------------------
// Steps
// -----------------------------------------------------------------------------

export const head = (
  status: number | null = 200,
  fields: Headers = {},
  options: { readonly end?: boolean; readonly fragments?: number; readonly stream?: number } = {}
): Step => ({
  step: "headers",
  status,
  fields,
  end: options.end ?? false,
  fragments: options.fragments ?? 1,
  stream: options.stream
})

export const trailers = (fields: Headers): Step => head(null, fields, { end: true })

export const data = (text: string, options: { readonly end?: boolean } = {}): Step => ({
  step: "data",
  text,
  end: options.end ?? false
})

/** So many bytes, as fast as the client's flow control lets them through. */
export const body = (size: number, options: { readonly end?: boolean } = {}): Step => ({
  step: "body",
  size,
  end: options.end ?? false
})

export const rst = (code: number): Step => ({ step: "rst", code })
/** Streams above the last one that come afterwards are ignored. */
export const goaway = (last: Last, code = 0): Step => ({ step: "goaway", last, code })
export const settings = (...settings: ReadonlyArray<readonly [id: number, value: number]>): Step => ({
  step: "settings",
  settings
})
export const ping: Step = { step: "ping" }

/** Lets the client send so many bytes more, on this stream and on the connection. */
export const credit = (bytes: number): Step => ({ step: "credit", bytes })

/** A frame of any type on this stream; on the connection in a script of `start`. */
export const frame = (type: number, flags = 0, hex = ""): Step => ({ step: "frame", type, flags, hex })

export const until = (barrier: Barrier): Step => ({ step: "until", barrier })
export const ended: Step = until({ ended: true })

/** Half milliseconds end between the timers of two milliseconds. */
export const delay = (millis: number): Step => ({ step: "delay", millis })

/** Closes the connection in order, or with a TCP reset. */
export const fin: Step = { step: "fin" }
export const cut: Step = { step: "cut" }

/** From now on nothing is read on this connection, and nothing written. */
export const deaf: Step = { step: "deaf" }

/** The answer of a request without a script. */
export const ok: Script = [ended, head(200, { "content-length": "{length}" }), data("{path}", { end: true })]
