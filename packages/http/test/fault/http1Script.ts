/** What the HTTP/1.1 fault server is told to do: scripts as data. */

/** What a script waits for. All that is given must be so. */
export interface Barrier {
  /** The whole request is in. */
  readonly ended?: boolean
  /** So many bytes of this request's body have come. */
  readonly received?: number
  /** The test has said so. */
  readonly signal?: string
}

export type Step =
  | { readonly step: "text"; readonly text: string }
  | { readonly step: "fill"; readonly size: number }
  | { readonly step: "until"; readonly barrier: Barrier }
  | { readonly step: "delay"; readonly millis: number }
  | { readonly step: "fin" }
  | { readonly step: "cut" }
  | { readonly step: "deaf" }
  | { readonly step: "renegotiate"; readonly identity?: { readonly cert: string; readonly key: string } }

/**
 * Steps between two waits go out in one write. `{path}` in a text is the path
 * of the request, `{length}` its length in bytes.
 */
export type Script = ReadonlyArray<Step>

/**
 * A request is answered with its path, unless there is a script for it: by the
 * first segment of its path, without the slash, or `*` for any. A script starts
 * when the head of the request is in.
 */
export interface Http1Scenario {
  /** Runs on a new connection. */
  readonly start?: Script
  readonly requests?: Readonly<Record<string, Script>>
  /** For every request of a connection but the first, whatever its path. */
  readonly later?: Script
}

/** Text in which every character is a byte. */
export const text = (text: string): Step => ({ step: "text", text })

/** So many bytes of `x`. */
export const fill = (size: number): Step => ({ step: "fill", size })

export const until = (barrier: Barrier): Step => ({ step: "until", barrier })
export const ended: Step = until({ ended: true })

/** Half milliseconds end between the timers of two milliseconds. */
export const delay = (millis: number): Step => ({ step: "delay", millis })

/** Closes the connection in order, or with a TCP reset. */
export const fin: Step = { step: "fin" }
export const cut: Step = { step: "cut" }

/** From now on nothing is read on this connection. */
export const deaf: Step = { step: "deaf" }

/** Asks for a new TLS handshake, with another certificate if one is given, and waits for it. */
export const renegotiate = (identity?: { readonly cert: string; readonly key: string }): Step => ({
  step: "renegotiate",
  ...(identity !== undefined && { identity })
})

/** A whole answer. */
export const answer = (body = "{path}", headers = ""): Step => {
  const length = body === "{path}" ? "{length}" : String(body.length)
  return text(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n${headers}\r\n${body}`)
}

/** The answer of a request without a script. */
export const ok: Script = [ended, answer()]
