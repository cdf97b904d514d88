/** Answers of an HTTP/1.1 server, right and wrong, and what becomes of them. */
import { answer, cut, delay, ended, fin, ok, type Script, type Step, text } from "./http1Script.ts"

export interface Case {
  readonly script: Script
  /** The body that the caller gets, or the reason of the error and its code. */
  readonly outcome: { readonly text: string } | { readonly reason: string; readonly code?: string }
  /** Whether the connection serves the next request. */
  readonly kept: boolean
  /** Whether a byte of the answer comes. If none does, a GET on a used connection is sent once more. */
  readonly silent?: boolean
}

/** Several packets, as far as that can be had. */
const apart = (...texts: ReadonlyArray<string>): Script =>
  texts.flatMap((part, i): ReadonlyArray<Step> => (i === 0 ? [text(part)] : [delay(2), text(part)]))

const head = "HTTP/1.1 200 OK\r\n"
const lost = { reason: "ConnectionLost" }
const invalid = { reason: "InvalidResponse" }

const broken = (outcome: Case["outcome"], ...script: Script): Case => ({
  script: [ended, ...script],
  outcome,
  kept: false
})
const whole = (kept: boolean, ...script: Script): Case => ({
  script: [ended, ...script],
  outcome: { text: "ok" },
  kept
})

/** F8: bodies of another length than declared. */
const lengths: Record<string, Case> = {
  "a body shorter than declared": broken(lost, text(`${head}content-length: 5\r\n\r\nabc`), fin),
  "a body cut short by a reset": broken(lost, text(`${head}content-length: 5\r\n\r\nabc`), delay(2), cut),
  "a truncated chunk": broken(lost, text(`${head}transfer-encoding: chunked\r\n\r\n5\r\nab`), fin),
  "no last chunk": broken(lost, text(`${head}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n`), fin),
  "no end of the trailers": broken(lost, text(`${head}transfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n`), fin),
  "a truncated body after connection: close": broken(
    { reason: "InvalidResponse", code: "UND_ERR_RES_CONTENT_LENGTH_MISMATCH" },
    text(`${head}connection: close\r\ncontent-length: 5\r\n\r\nabc`),
    fin
  ),
  "a body longer than declared": whole(false, text(`${head}content-length: 2\r\n\r\nok and more`)),
  "a second answer in the same packet": whole(false, answer("ok"), answer("poison")),
  "bytes after the last chunk": whole(
    false,
    text(`${head}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\npoison`)
  ),
  "a 204 with a body": {
    ...whole(false, text("HTTP/1.1 204 No Content\r\n\r\npoison")),
    outcome: { text: "" }
  },
  "a 204 with a length": {
    ...whole(false, text("HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison")),
    outcome: { text: "" }
  },
  "a 304 with a body": {
    ...whole(false, text("HTTP/1.1 304 Not Modified\r\n\r\npoison")),
    outcome: { text: "" }
  }
}

/** F12: framing that two parsers may read in two ways. */
const smuggling: Record<string, Case> = {
  "transfer-encoding and content-length": broken(
    invalid,
    text(`${head}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nab\r\n0\r\n\r\n`)
  ),
  "content-length and transfer-encoding": broken(
    invalid,
    text(`${head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n`)
  ),
  "two lengths": broken(invalid, text(`${head}content-length: 2\r\ncontent-length: 3\r\n\r\nabc`)),
  "a negative length": broken(invalid, text(`${head}content-length: -1\r\n\r\n`)),
  "a length in hexadecimal": broken(invalid, text(`${head}content-length: 0x2\r\n\r\nok`)),
  "a length beyond 2^64": broken(invalid, text(`${head}content-length: 18446744073709551617\r\n\r\nok`)),
  "a bare line feed after the status": broken(invalid, text("HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n")),
  "a bare line feed after a header": broken(invalid, text(`${head}a: b\ncontent-length: 0\r\n\r\n`)),
  "a bare carriage return in a header": broken(invalid, text(`${head}a: b\rc: d\r\ncontent-length: 0\r\n\r\n`)),
  "a folded header": broken(invalid, text(`${head}a: b\r\n c\r\ncontent-length: 0\r\n\r\n`)),
  "a space before a colon": broken(invalid, text(`${head}content-length : 2\r\n\r\nok`)),
  "a NUL in a header": broken(invalid, text(`${head}a: b\0c\r\ncontent-length: 0\r\n\r\n`)),
  "a header without a colon": broken(invalid, text(`${head}nonsense\r\n\r\n`)),
  "a chunk size that is no number": broken(invalid, text(`${head}transfer-encoding: chunked\r\n\r\nzz\r\nab`)),
  "a chunk longer than its size": broken(
    invalid,
    text(`${head}transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n`)
  ),
  "a chunk size beyond 2^64": broken(
    invalid,
    text(`${head}transfer-encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n`)
  )
}

/** F9: what does not end, and what is no HTTP. */
const floods: Record<string, Case> = {
  "a flood of headers": broken(
    { reason: "InvalidResponse", code: "UND_ERR_HEADERS_OVERFLOW" },
    ...apart(head, ...Array.from({ length: 20 }, (_, i) => `x-${i}: ${"x".repeat(1_000)}\r\n`))
  ),
  "one endless header": broken(
    { reason: "InvalidResponse", code: "UND_ERR_HEADERS_OVERFLOW" },
    ...apart(head, "x: ", ...Array.from({ length: 20 }, () => "x".repeat(1_000)))
  ),
  "a flood of informational responses": broken(
    { reason: "InvalidResponse", code: "TOO_MANY_INFORMATIONAL" },
    text("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(11)),
    answer("ok")
  ),
  "as many informational responses as are allowed": whole(
    true,
    text("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10)),
    answer("ok")
  ),
  "no HTTP": broken(invalid, text("SSH-2.0-OpenSSH_9.6\r\n")),
  "the preface of HTTP/2": broken(invalid, text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
  "a status of two digits": broken(invalid, text("HTTP/1.1 20 OK\r\n\r\n")),
  "an end within the head": broken(lost, text(`${head}content-le`), fin)
}

/** F3, F4 and F13: what a connection is good for afterwards. */
const persistence: Record<string, Case> = {
  "connection: close": whole(false, answer("ok", "connection: close\r\n")),
  "connection: close among others": whole(false, answer("ok", "connection: x, Close\r\n")),
  "HTTP/1.0": whole(false, text("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")),
  "a body that ends with the connection": whole(false, text(`${head}\r\nok`), fin),
  "a hint below the margin": whole(false, answer("ok", "keep-alive: timeout=2\r\n")),
  "a hint above the margin": whole(true, answer("ok", "keep-alive: timeout=5\r\n")),
  "an answer in single bytes": whole(true, ...apart(...`${head}content-length: 2\r\n\r\nok`)),
  "an answer in chunks with a trailer": whole(
    true,
    text(`${head}transfer-encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nx: y\r\n\r\n`)
  ),
  "a switch of protocols": broken(
    invalid,
    text("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
  ),
  "an unasked 100 Continue": broken(invalid, text("HTTP/1.1 100 Continue\r\n\r\n"), answer("ok"))
}

/** F1, F2: no answer at all. */
const silence: Record<string, Case> = {
  "an end before any byte": { ...broken(lost, fin), silent: true },
  "a reset before any byte": { ...broken(lost, cut), silent: true }
}

export const answers: Record<string, Case> = {
  "a plain answer": { script: ok, outcome: { text: "{path}" }, kept: true },
  ...lengths,
  ...smuggling,
  ...floods,
  ...persistence,
  ...silence
}
